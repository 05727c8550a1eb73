"""Keep the chosen example, CI and infrastructure, make the folder a git repository, and say what to type next.

cookiecutter renders this file, then runs it alone from a temporary folder in the new project folder:
it can import nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# JSON escapes every quote inside a string, so three in a row never occur in it.
ANSWERS: dict[str, str] = json.loads(r"""<< cookiecutter | jsonify >>""")

REQUIREMENT: str = json.loads(
    r""" << cookiecutter._template_version | requirement(cookiecutter._repo_dir) | jsonify >> """
)

# The files of each choice of the question `ci`.
CI_FILES = {
    "circleci": [".circleci/config.yml"],
    "github": [
        f".github/workflows/{name}.yml"
        for name in ("check", "infrastructure", "monitor", "release", "retrain", "rollback", "undeploy")
    ],
}
# The files of the answer `terraform` to the question `infrastructure`, with those of each CI.
TERRAFORM_FILES = [
    ".github/workflows/infrastructure.yml",
    *(
        f"infra/{name}"
        for name in ("README.md", "main.tf", "outputs.tf", "terraform.tfvars", "variables.tf", "versions.tf")
    ),
]

# For the first commit of somebody who has not told git a name yet. Their own commits need their own name.
FALLBACK_IDENTITY = {"user.name": "vertex-edge", "user.email": "vertex-edge@localhost"}

# By the trailers `invoke template.update` finds what the template gave, and so what the user changed since.
FIRST_COMMIT = """\
Start from the vertex:edge template

Edge-Template: {version}
Edge-Template-Tree: {tree}
"""


def keep_example(project: Path, example: str, model_name: str) -> None:
    """Give each `EXAMPLE~NAME` its name NAME if it belongs to the chosen example, and remove it if not.

    The examples are those that have a folder `models/EXAMPLE~MODEL_NAME`.
    """
    owners = [path.name.partition("~")[0] for path in (project / "models").glob(f"*~{model_name}")]
    for owner in owners:
        for path in sorted(project.rglob(f"{owner}~*")):
            target = path.with_name(path.name.partition("~")[2])
            if owner == example and path.is_dir():
                # The target exists when somebody renders over an older repository.
                shutil.copytree(path, target, dirs_exist_ok=True)
            elif owner == example:
                path.replace(target)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def keep_ci(project: Path, ci: str) -> None:
    """Remove the files of every CI but the chosen one, and the folders that are empty then."""
    for choice, names in CI_FILES.items():
        if choice != ci:
            remove(project, names)


def keep_infrastructure(project: Path, infrastructure: str) -> None:
    """Remove what Terraform reads, and the CI that runs it, unless that was chosen."""
    if infrastructure != "terraform":
        remove(project, TERRAFORM_FILES)


def remove(project: Path, names: list[str]) -> None:
    """Remove these files, as far as they are there, and the folders that are empty then."""
    for path in (project / name for name in names):
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == project or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


def link_payload(project: Path, model_name: str) -> None:
    """Let `test_payload.json` at the root be that of the first model."""
    link = project / "test_payload.json"
    link.unlink(missing_ok=True)
    link.symlink_to(Path("models", model_name, "test_payload.json"))


def link_code(project: Path) -> None:
    """Let `.code` be `models`, under the name that the stages `train` depend on; .dvcignore tells why."""
    link = project / ".code"
    link.unlink(missing_ok=True)
    link.symlink_to("models")


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Run from a git hook, the variables of the other repository would reach ours.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX"}
    }
    return subprocess.run(["git", *arguments], env=environment, capture_output=True, text=True, check=False)


def commit() -> str:
    """Make the current folder a git repository with one commit; give the reason if that is not done."""
    if shutil.which("git") is None:
        return "git is not installed: install it, then run `git init && git add . && git commit`"
    inside = git("rev-parse", "--is-inside-work-tree").stdout.strip() == "true"
    ignored_there = inside and git("check-ignore", "--quiet", ".").returncode == 0
    if inside and not ignored_there:
        return "this folder is already part of a git repository: commit the new files there"

    identity = []
    for key, value in FALLBACK_IDENTITY.items():
        if not git("config", "--get", key).stdout.strip():
            identity += ["-c", f"{key}={value}"]
    failed = "git could not make the first commit"
    for step in (["-c", "init.defaultBranch=main", "init", "--quiet"], ["add", "--all"]):
        done = git(*step)
        if done.returncode != 0:
            return f"{failed}: {done.stderr.strip()}"
    message = FIRST_COMMIT.format(version=ANSWERS["_template_version"], tree=git("write-tree").stdout.strip())
    done = git(*identity, "commit", "--quiet", "--message", message)
    return f"{failed}: {done.stderr.strip() or done.stdout.strip()}" if done.returncode != 0 else ""


def main() -> None:
    project = Path.cwd()
    keep_example(project, ANSWERS["example"], ANSWERS["model_name"])
    keep_ci(project, ANSWERS["ci"])
    keep_infrastructure(project, ANSWERS["infrastructure"])
    link_payload(project, ANSWERS["model_name"])
    link_code(project)
    reason = commit()
    if reason:
        print(f"warning: {reason}", file=sys.stderr)
    print(
        f"""
The repository is ready. Next:

    cd {ANSWERS["project_slug"]}
    python3 -m venv .venv
    source .venv/bin/activate
    pip install -r requirements.txt
    invoke init
    dvc repro models/{ANSWERS["model_name"]}/dvc.yaml
    invoke model.deploy
    ./test_endpoint.sh

README.md tells what each step does."""
    )
    if " @ file:" in REQUIREMENT:
        print(
            f"""
requirements.txt installs vertex:edge from here, {REQUIREMENT.partition(" @ ")[2]}:
a team-mate or a CI cannot. For them, name a git address there, as README.md says under "A new team-mate"."""
        )


if __name__ == "__main__":
    main()
