"""A dashboard for Grafana that follows from the catalogue: a new metric is in it without a line here."""

from streamproc.catalogue.grafana.dashboard import DASHBOARD_UID, dashboard, dashboard_json
from streamproc.catalogue.grafana.panels import DATASOURCE_UID

__all__ = ["DASHBOARD_UID", "DATASOURCE_UID", "dashboard", "dashboard_json"]
