"""`python -m benchmarks.serving`: the serving part of `make bench`."""

import sys

from benchmarks.serving.run import main
from polarity.errors import PolarityError

try:
    main()
except PolarityError as error:
    sys.exit(str(error))
