"""Infrastructure as code with target gcp: what exists is imported, and what Terraform manages is left alone."""

from __future__ import annotations

import json
from typing import Any

from tests.google_cloud.conftest import BUCKET, PROJECT, Google


def test_an_export_imports_what_exists_and_init_then_leaves_it_to_terraform(google: Google) -> None:
    google.init()
    google.change(services=["storage.googleapis.com", "logging.googleapis.com"])
    exported = google.repository.run("invoke", "infra.export", "--endpoints")
    assert exported.stdout == ""
    assert "> CI is left out: its ids are not given" in exported.stderr
    folder = google.repository.root / "infra"
    imports = (folder / "imports.tf").read_text()
    assert f'id = "{BUCKET}"' in imports
    assert f'id = "{PROJECT}/storage.googleapis.com"' in imports
    assert "aiplatform" not in imports
    assert 'resource "google_vertex_ai_endpoint" "hello_world"' in (folder / "main.tf").read_text()
    doctor = google.repository.run("invoke", "doctor", check=False).stdout
    assert "terraform -chdir=infra apply" in doctor
    google.init()
    assert "aiplatform.googleapis.com" not in google.world["projects"][PROJECT]["services"]
    again = google.repository.run("invoke", "infra.export", "--endpoints").stderr
    assert again.endswith("> infra/ is as edge.yaml says\n")


def test_the_plan_as_json_is_the_result_and_names_accounts_by_address(google: Google) -> None:
    printed = google.repository.run("invoke", "infra.export", "--format", "json", "--ci", "none").stdout
    plan: list[dict[str, Any]] = json.loads(printed)
    assert {"Service", "Bucket", "ServiceAccount", "BucketRole", "ProjectRole"} <= {one["kind"] for one in plan}
    (role,) = [one for one in plan if one["kind"] == "BucketRole"]
    assert role["member"].startswith("edge-job@")
    assert not (google.repository.root / "infra").exists()
