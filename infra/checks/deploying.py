"""What infra/deploy says to what it cannot use. It gets as far as its first request to AWS, and no further."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from template import ROOT

APP = "MicrosoftAppId=00000000-0000-4000-8000-00000000b07a"
FAKES = {
    # Knows no account.
    "aws": "#!/bin/sh\n[ \"$1\" = configure ] || echo 'Unable to locate credentials' >&2\nexit 255\n",
    "cargo": "#!/bin/sh\n",
}

# The arguments, the tools that are there, the environment, and what is answered.
CASES = [
    ([], "aws cargo", {}, "name the stack"),
    (["herald", "--dry"], "aws cargo", {}, "there is no option --dry"),
    (["herald", "MicrosoftAppId"], "aws cargo", {}, "MicrosoftAppId is no PARAMETER=VALUE"),
    (["herald", APP, "--bucket"], "aws cargo", {}, "--bucket needs a value"),
    (["herald", APP, "MicrosoftAppPassword=s3cret"], "aws cargo", {}, "MicrosoftAppPassword takes the ARN"),
    (["herald", APP, "Certificate=arn:aws:iam::1:x"], "aws cargo", {}, "Certificate takes the ARN"),
    (["herald", APP, "--binaries", "/nowhere/at/all"], "aws", {}, "the directory of --binaries is not there"),
    (["herald", APP], "cargo", {}, "the AWS CLI is missing"),
    (["herald", APP], "aws", {}, "Rust is missing"),
    (["herald", APP], "aws cargo", {}, "there is no region"),
    (["herald", APP], "aws cargo", {"AWS_REGION": "eu-west-1"}, "AWS takes no credentials"),
]


def wrong():
    """The cases in which infra/deploy says something else."""
    folder = Path(tempfile.mkdtemp())
    try:
        for arguments, tools, environment, expected in CASES:
            path = folder / tools.replace(" ", "-")
            if not path.exists():
                path.mkdir()
                for name in ("env", "bash", "dirname", "mkdir", "sed"):
                    (path / name).symlink_to(shutil.which(name))
                for name in tools.split():
                    (path / name).write_text(FAKES[name])
                    (path / name).chmod(0o755)
            done = subprocess.run(
                [ROOT / "infra/deploy", *arguments],
                env={"PATH": str(path), "HOME": str(folder)} | environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
            if done.returncode != 1 or f"infra/deploy: {expected}" not in done.stderr:
                yield f"infra/deploy {' '.join(arguments)}: expected {expected!r}, got {done.returncode}: {done.stderr}"
            if "s3cret" in done.stderr + done.stdout:
                yield "infra/deploy prints a secret"
    finally:
        shutil.rmtree(folder)
