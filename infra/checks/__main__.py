"""Checks infra/template.yaml, then shows that the checks find faults."""

import copy
import sys

import commands
import deploying
import faults
import parameters
import policies
import template


def seeded(original, changes):
    changed = copy.deepcopy(original)
    for change in changes:
        change(changed)
    return changed


def missed(original):
    """The faults that nothing reports."""
    for name, change, expected in faults.OWN:
        found = template.own(seeded(original, [change]))
        if not any(fault.startswith(expected) for fault in found):
            yield f"{name} is not caught: {found}"
    found = template.linted(seeded(original, [change for _, change, _ in faults.LINT]))
    for name, _, expected in faults.LINT:
        if not any(fault.startswith(f"{expected}: ") for fault in found):
            yield f"{name} is not caught"


def documents():
    """The commands of the runbook and of the deployment's README."""
    for name in ("RUNBOOK.md", "README.md"):
        text = (template.ROOT / "infra" / name).read_text()
        yield from commands.faults(f"infra/{name}", commands.in_text(text))


def alarms(original):
    for id, alarm in template.Stack(original).of("AWS::CloudWatch::Alarm").items():
        yield from commands.faults(id, commands.in_text(alarm["AlarmDescription"]["Fn::Sub"]))


def main():
    original = template.read()
    found = template.own(original) + template.linted(original)
    found += [*parameters.wrong(original), *alarms(original), *documents(), *deploying.wrong()]
    found += policies.wrong(sys.argv[1], original, seeded)
    for fault in found:
        print(f"infra/template.yaml: {fault}")
    if found:
        return 1
    print(f"infra/template.yaml: {len(template.expand(original)['Resources'])} resources, no fault")
    print(f"infra/template.yaml: {len(parameters.CASES)} sets of parameters are taken or refused as they should be")
    not_caught = list(missed(original))
    for line in not_caught:
        print(f"infra/checks/faults.py: {line}")
    seeds = len(faults.OWN) + len(faults.LINT)
    print(f"infra/checks: {seeds - len(not_caught)} of {seeds} seeded faults are caught")
    return 1 if not_caught else 0


if __name__ == "__main__":
    sys.exit(main())
