"""Jinja2 templates: Dockerfiles, the HTML report, the runbook. YAML is never made from a template."""
