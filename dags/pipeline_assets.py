"""What the DAGs make, as Airflow assets: the lineage page, and triggers for consumers that only need the newest."""

from airflow.sdk import Asset

FEATURES = Asset("features")
TEACHER = Asset("teacher")
PACKAGE = Asset("package")
CHAMPION = Asset("champion")
REPORTS = Asset("reports")
