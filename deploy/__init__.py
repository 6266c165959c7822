"""Deployments of a Bento's image: a new version beside the old one, a smoke test, the switch, and the way back.

The standard library alone, so that the package can be run on a host that has nothing but Python and containers
(`python -m zipapp deploy -o deploy.pyz`). What is deployed is asked over HTTP; nothing of the project is imported.
"""
