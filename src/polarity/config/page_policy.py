"""What a page of a run may load and do: it shows texts of strangers, and needs no script."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)
META_TAG = f'<meta http-equiv="Content-Security-Policy" content="{CONTENT_SECURITY_POLICY}">'
"""For pages that are also opened from a disk or out of MLflow, where no server sends the header."""
