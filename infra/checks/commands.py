"""The commands of the AWS CLI in alarms and documents: each names an operation and options that AWS's own models have."""

import re

import botocore.session
from botocore import xform_name

# Options of the CLI itself, and a command that it makes of several operations.
GLOBAL = {"query", "output", "region", "profile"}
OF_THE_CLI = {
    ("logs", "tail"): {"since", "filter-pattern", "follow", "format"},
    ("cloudformation", "wait"): {"stack-name"},
}


def in_text(text):
    """The commands of a document: lines of code that begin with `aws`, also inside `$(…)`, and code in a sentence."""
    text = text.replace("\\\n", " ")
    return re.findall(r"(?:^ *|\$\(|`|do )(aws [a-z].*?)(?=`|$|;)", text, re.MULTILINE)


def faults(where, commands):
    session = botocore.session.get_session()
    for command in commands:
        # What stands in quotes is a value.
        words = re.sub(r"'[^']*'|\"[^\"]*\"", "x", command).split(" #")[0].split()
        service, operation = words[1], words[2] if len(words) > 2 else ""
        options = {re.split(r"[=)]", word[2:])[0] for word in words[3:] if word.startswith("--")} - GLOBAL
        if (service, operation) in OF_THE_CLI:
            known = OF_THE_CLI[service, operation]
        else:
            try:
                model = session.get_service_model(service)
            except Exception:
                yield f"{where}: there is no service {service}: {command}"
                continue
            names = {xform_name(name, "-"): name for name in model.operation_names}
            if operation not in names:
                yield f"{where}: {service} has no operation {operation}: {command}"
                continue
            shape = model.operation_model(names[operation]).input_shape
            known = {xform_name(name, "-") for name in (shape.members if shape else ())}
        for option in sorted(options - known):
            yield f"{where}: aws {service} {operation} has no option --{option}"
