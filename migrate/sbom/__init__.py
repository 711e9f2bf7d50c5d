"""`vm2c analyze --sbom`: what is installed, as CycloneDX or SPDX, by the libraries of these two projects.

lib4sbom writes both formats and was left aside: it checks nothing that it writes (a version with a newline, an
identifier that is none), and knows no evidence, which here every component has.
"""
