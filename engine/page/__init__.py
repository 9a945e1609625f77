"""Every page that a person reads. The one door to jinja2."""
