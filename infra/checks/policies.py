"""The advice of checkov on the expanded template. What is not followed has its reason here."""

import json
import subprocess
import tempfile
from pathlib import Path

import faults
import template

# What is not followed, and why. One that checkov does not give any more is a fault, too.
ACCEPTED = {
    "CKV_AWS_115": "functions behind queues have the limit of their mapping; reserved concurrency is a parameter of the others",
    "CKV_AWS_116": "each function is invoked by API Gateway or by a queue, whose dead-letter queue takes what fails; none is invoked asynchronously",
    "CKV_AWS_117": "functions need the internet (the channel, Entra) and the public endpoints of AWS, and nothing in a VPC",
    "CKV_AWS_173": "the variables hold no secret; Lambda encrypts them by its own key",
}

# A fault that checkov has to find, and its check.
SEEDED = (
    faults.of("DeliveriesTable", "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled", False),
    "CKV_AWS_28",
)


def advice(program, stack):
    """The checks that fail, with their resources."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "expanded.json"
        file.write_text(json.dumps(template.expand(stack), default=str))
        command = [program, "--file", file, "--framework", "cloudformation", "--compact", "--quiet", "--skip-download"]
        done = subprocess.run([*command, "--output", "json"], capture_output=True, text=True)
    report = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["resource_count"]:
        raise RuntimeError(f"checkov did not read the template: {done.stderr}")
    for failed in report["results"]["failed_checks"]:
        yield failed["check_id"], failed["check_name"], failed["resource"].split(".")[-1]


def wrong(program, original, seeded):
    found = list(advice(program, original))
    for check, name, resource in found:
        if check not in ACCEPTED:
            yield f"{resource}: {check} {name}"
    for check in sorted(set(ACCEPTED) - {check for check, _, _ in found}):
        yield f"infra/checks/policies.py: checkov does not give {check} any more"
    change, expected = SEEDED
    if expected not in {check for check, _, _ in advice(program, seeded(original, [change]))}:
        yield f"infra/checks/policies.py: checkov does not find {expected}"
