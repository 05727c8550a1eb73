"""The pipelines of the tests, in kfp's language: `python tests/emulator/pipelines/source.py` compiles them next to it.

This project does not depend on kfp, which wants an older protobuf and Kubernetes' client:

    uv run --no-project --with kfp==2.17.3 tests/emulator/pipelines/source.py
"""
# ruff: noqa  (kfp keeps the functions as they stand here, and reads the older names of types)

from pathlib import Path
from typing import List, NamedTuple, Optional

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Metrics, Output

component = dsl.component(base_image="python:3.11")


@dsl.component(base_image="python:3.11", packages_to_install=["packaging"])
def make(n: int, rows: Output[Dataset], letter: str = "x") -> int:
    import packaging

    with open(rows.path, "w") as file:
        file.write(letter * n)
    rows.metadata["rows"] = n
    return n + 1


@component
def measure(rows: Input[Dataset], n: int, metrics: Output[Metrics], note: Optional[str] = None) -> NamedTuple(
    "Measured", [("length", int), ("good", bool)]
):
    from collections import namedtuple

    with open(rows.path) as file:
        text = file.read()
    metrics.log_metric("length", len(text))
    print("note:", note, rows.metadata)
    return namedtuple("Measured", "length good")(len(text), len(text) < n)


@component
def numbers(most: int) -> List[int]:
    return list(range(1, most + 1))


@component
def double(i: int) -> int:
    return 2 * i


@component
def write(i: int, out: Output[Dataset]):
    with open(out.path, "w") as file:
        file.write(str(i))


@component
def total(them: List[int]) -> int:
    return sum(them)


@component
def joined(them: Input[List[Dataset]]) -> str:
    return ",".join(open(each.path).read() for each in them)


@component
def flip(side: str) -> str:
    return side


@component
def last_word(status: dsl.PipelineTaskFinalStatus, text: str) -> str:
    return f"{text}: {status.state} {status.pipeline_task_name} {status.error_message}"


@component
def fail_until(marks: str, times: int) -> int:
    """Fail as often as it is told to; the marks of the attempts are files of a bucket."""
    import os

    folder = marks.replace("gs://", "/gcs/")
    os.makedirs(folder, exist_ok=True)
    done = len(os.listdir(folder))
    with open(f"{folder}/attempt-{done}", "w") as file:
        file.write("tried")
    if done < times:
        raise RuntimeError(f"attempt {done} fails")
    return done


@component
def wait(seconds: float, marks: str) -> int:
    import os
    import time
    import uuid

    folder = marks.replace("gs://", "/gcs/")
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{uuid.uuid4()}", "w") as file:
        file.write(str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


@dsl.container_component
def say(text: str, said: dsl.OutputPath(str), more: Optional[str] = None):
    return dsl.ContainerSpec(
        image="python:3.11",
        command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf "%s" "$*" > "$0"'],
        args=[
            said,
            dsl.ConcatPlaceholder(["says:", text]),
            dsl.IfPresentPlaceholder(input_name="more", then=["--more", more], else_=["nothing"]),
        ],
    )


@dsl.pipeline(name="two-steps")
def two_steps(n: int = 3):
    made = make(n=n)
    measure(rows=made.outputs["rows"], n=made.outputs["Output"])


@dsl.pipeline
def four_times(n: int) -> int:
    first = double(i=n)
    return double(i=first.output).output


@dsl.pipeline(name="branches")
def branches(side: str = "heads", n: int = 3, more: Optional[str] = None) -> int:
    flipped = flip(side=side)
    with dsl.If(flipped.output == "heads"):
        one = double(i=1)
    with dsl.Elif(flipped.output == "tails"):
        two = double(i=2)
    with dsl.Else():
        three = double(i=3)
    chosen = dsl.OneOf(one.output, two.output, three.output)
    inner = four_times(n=chosen)
    with dsl.If(inner.output > 10, name="large"):
        say(text=f"{side} {n}", more=more)
    return inner.output


@dsl.pipeline(name="loops")
def loops(most: int = 3) -> int:
    found = numbers(most=most)
    with dsl.ParallelFor(found.output, parallelism=2) as i:
        doubled = double(i=i)
        written = write(i=doubled.output)
    joined(them=dsl.Collected(written.outputs["out"]))
    with dsl.ParallelFor([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]) as item:
        say(text=item.b)
    return total(them=dsl.Collected(doubled.output)).output


@dsl.pipeline(name="guarded")
def guarded(marks: str, times: int = 1):
    word = last_word(text=f"{times} times")
    with dsl.ExitHandler(word, name="guard"):
        tried = fail_until(marks=marks, times=times).set_retry(2, "0s").set_caching_options(False)
        say(text="after")
        double(i=tried.output)
        double(i=7).after(tried).ignore_upstream_failure().set_display_name("In any case")


@dsl.pipeline(name="imports")
def imports(uri: str, owner: str = "me"):
    found = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"owner": owner, "rows": 3})
    measure(rows=found.output, n=100, note="imported")


@dsl.pipeline(name="waits")
def waits(marks: str, seconds: float = 60.0):
    first = wait(seconds=0.0, marks=f"{marks}/first").set_caching_options(False)
    second = wait(seconds=seconds, marks=f"{marks}/second").after(first).set_caching_options(False)
    double(i=1).after(second)


if __name__ == "__main__":
    for pipeline in (two_steps, branches, loops, guarded, imports, waits):
        compiler.Compiler().compile(pipeline, str(Path(__file__).with_name(f"{pipeline.name}.yaml")))
