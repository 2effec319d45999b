"""Deploys the template into ministack by infra/deploy, and runs the main job through its endpoints.

Requests are signed, and ministack holds each function to its role. The channel is a stand-in on this machine, which takes
what the bot sends; nothing here is authenticated by the channel's tokens.
"""

import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import botocore.session
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = ["events", "messages", "notify", "planner", "sender"]
APP = "00000000-0000-4000-8000-00000000b07a"
TENANT = "11111111-2222-4333-8444-555555555555"
REGION = "us-east-1"
# An exhausted wait is a failure, never a pause.
PATIENCE = 60

# What ministack cannot make: the resources are left out, with all that names them.
LEFT_OUT = {
    "AWS::CloudWatch::Alarm": "alarms on metric math",
    "AWS::CloudWatch::Dashboard": "the dashboard, which names them",
}

# Where ministack asks for another permission than AWS does. Each is granted beside what the template grants.
# (statement, why)
BESIDE = [
    (
        {"Effect": "Allow", "Action": "sqs:SendMessageBatch", "Resource": "*"},
        "ministack checks SendMessageBatch as an action of that name; in AWS it is sqs:SendMessage",
    ),
    (
        {"Effect": "Allow", "Action": "scheduler:CreateSchedule", "Resource": "*"},
        "ministack checks CreateSchedule on the group `default`",
    ),
    (
        {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "*"},
        "ministack does not know the condition key events:source",
    ),
]


def adapted(text):
    """The text of the template as ministack can take it."""
    kinds = "|".join(map(re.escape, LEFT_OUT))
    text, left_out = re.subn(rf"(?m)^  \w+:\n    Type: (?:{kinds})\n(?:(?:    .*)?\n)*", "", text)
    text, outputs = re.subn(r"(?m)^  DashboardUrl:\n(?:    .*\n?)*", "", text)
    # A parameter is text to ministack, and its poller compares numbers.
    text, limits = re.subn(r"MaximumConcurrency: !Ref \w+MaximumConcurrency", "MaximumConcurrency: 10", text)
    if not left_out or not outputs or limits != 3:
        raise Failed("the template has another form than this adapts")
    beside = "".join(f"          - {json.dumps(statement)}\n" for statement, _ in BESIDE)
    roles = ", ".join(f"!Ref {name.title()}Role" for name in FUNCTIONS)
    policy = f"""Resources:
  BesidePolicy:
    Type: AWS::IAM::Policy
    Properties:
      PolicyName: beside
      Roles: [{roles}]
      PolicyDocument:
        Version: "2012-10-17"
        Statement:
{beside}"""
    return text.replace("\nResources:\n", "\n" + policy, 1)


class Channel(http.server.ThreadingHTTPServer):
    """Takes what the bot sends."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Connector)
        self.texts = []
        self.came = threading.Condition()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait_for(self, text):
        with self.came:
            arrived = self.came.wait_for(lambda: text in self.texts, PATIENCE)
        if not arrived:
            raise Failed(f"{text!r} did not arrive; {self.texts} did")


class Connector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        activity = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.came:
            self.server.texts.append(activity.get("text"))
            self.server.came.notify_all()
            body = json.dumps({"id": str(len(self.server.texts))}).encode()
        self.send_response(201)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Failed(Exception):
    pass


class Emulator:
    """A running ministack."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "ministack.log"
        # Functions inherit the environment of ministack.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
        }
        own = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "AUTH": "true",
            # With it, ministack listens on all addresses.
            "IOT_MTLS_ENABLED": "0",
            "S3_DATA_DIR": str(folder / "s3"),
            "TMPDIR": str(folder),
            "HERALD_UNAUTHENTICATED": "loopback-only",
        }
        command = [Path(sys.executable).parent / "ministack"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=self.environment | own, stdout=log, stderr=log, cwd=folder)
        eventually("ministack answers", lambda: self.answers())

    def answers(self):
        if self.process.poll() is not None:
            raise Failed("ministack ended: " + self.log.read_text()[-1000:])
        try:
            urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5).close()
        except OSError:
            return False
        return True

    def client(self, service):
        session = botocore.session.get_session()
        return session.create_client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )


def eventually(what, holds):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = holds()
        if value:
            return value
        time.sleep(0.2)
    raise Failed(f"not within {PATIENCE} s: {what}")


class Api:
    """The HTTP API of the deployed stack."""

    def __init__(self, emulator, endpoint):
        self.url = emulator.url
        self.host = re.match(r"https?://([^/]+)", endpoint)[1]

    def request(self, method, path, body=None, signed=True):
        data = None if body is None else json.dumps(body).encode()
        headers = {"host": self.host} | ({"content-type": "application/json"} if data else {})
        request = AWSRequest(method, f"http://{self.host}{path}", data=data, headers=headers)
        if signed:
            keys = botocore.credentials.Credentials("test", "test")
            SigV4Auth(keys, "execute-api", REGION).add_auth(request)
        sent = urllib.request.Request(self.url + path, data, dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(sent, timeout=30) as response:
                return response.status, json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else {"text": text.decode()[:200]}

    def ask(self, method, path, body=None, expected=200, signed=True):
        status, answer = self.request(method, path, body, signed)
        if status != expected:
            raise Failed(f"{method} {path}: expected {expected}, got {status}: {answer}")
        return answer


def deploy(emulator, folder, *options, stack="herald"):
    command = [ROOT / "infra/deploy", "--template", folder / "template.yaml", *options, stack, *PARAMETERS]
    done = subprocess.run(command, env=emulator.environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"infra/deploy {' '.join(map(str, options))}: {done.stderr[-1000:]}")
    return done.stdout


PARAMETERS = [f"MicrosoftAppId={APP}", "Architecture=x86_64"]


def activity(channel):
    """Ada adds the bot."""
    return {
        "type": "conversationUpdate",
        "id": "1",
        "channelId": "msteams",
        "serviceUrl": channel.url,
        "from": {"id": "29:ada", "aadObjectId": "00000000-0000-4000-8000-0000000000ad"},
        "recipient": {"id": f"28:{APP}"},
        "conversation": {"id": "a:ada", "conversationType": "personal", "tenantId": TENANT},
        "membersAdded": [{"id": f"28:{APP}"}],
        "channelData": {"tenant": {"id": TENANT}},
    }


def job(emulator, channel, done):
    """The main job, events in, a hook, and a schedule."""
    stack = emulator.client("cloudformation").describe_stacks(StackName="herald")["Stacks"][0]
    outputs = {it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]}
    api = Api(emulator, outputs["NotificationsEndpoint"])
    api.ask("POST", "/api/messages", activity(channel), 200, signed=False)
    done("the bot remembers who adds it")
    api.ask("GET", "/api/notifications", expected=403, signed=False)
    done("the API refuses who does not sign")

    message = {"audience": {"everyone": True}, "message": {"text": "by request"}}
    id = api.ask("POST", "/api/notifications", message, 202)["id"]
    channel.wait_for("by request")
    eventually("the notification is completed", lambda: api.ask("GET", f"/api/notifications/{id}")["state"] == "completed")
    done("a notification is accepted, planned and sent")

    event = {
        "Source": "library",
        "DetailType": "Notification Requested",
        "EventBusName": outputs["EventBus"],
        "Detail": json.dumps(message | {"message": {"text": "by event"}}),
    }
    emulator.client("events").put_events(Entries=[event])
    channel.wait_for("by event")
    done("an event on the bus asks for another")

    emulator.client("sns").publish(
        TopicArn=outputs["EventsTopicArn"], Message=json.dumps(message | {"message": {"text": "by topic"}})
    )
    channel.wait_for("by topic")
    done("a message to the topic asks for another")

    hook = api.ask("POST", "/api/hooks", {"name": "alerts", "audience": {"everyone": True}}, 201)
    path = re.sub(r"https?://[^/]+", "", hook["url"])
    api.ask("POST", path, {"text": "by hook"}, 200, signed=False)
    channel.wait_for("by hook")
    done("a hook takes what is not signed")

    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    api.ask("POST", "/api/notifications", message | {"deliverAt": later}, 202)
    schedules = emulator.client("scheduler")
    waiting = eventually("a schedule waits", lambda: schedules.list_schedules()["Schedules"])
    schedule = schedules.get_schedule(Name=waiting[0]["Name"], GroupName=waiting[0]["GroupName"])
    if "DeadLetterConfig" not in schedule["Target"]:
        raise Failed(f"a schedule without dead letters: {schedule}")
    done("one for later is a schedule with a dead-letter queue")

    for queue in ("Plans", "Deliveries", "Events"):
        got = emulator.client("sqs").get_queue_attributes(
            QueueUrl=outputs[f"{queue}DeadLetterQueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
        )
        if got["Attributes"]["ApproximateNumberOfMessages"] != "0":
            raise Failed(f"there are dead letters of {queue}")
    done("no dead-letter queue has a message")


NAMES = {
    f"{table}TableName": f"library-{table.lower()}" for table in ("Conversations", "Notifications", "Deliveries")
}


def adopt(emulator, folder):
    """The tables outlive the stack, and another stack takes them over with what is in them."""
    formation = emulator.client("cloudformation")
    formation.delete_stack(StackName="herald")
    formation.get_waiter("stack_delete_complete").wait(StackName="herald", WaiterConfig={"Delay": 1})
    left = emulator.client("dynamodb").list_tables()["TableNames"]
    if sorted(left) != sorted(NAMES.values()):
        raise Failed(f"other tables than those of the stack are left: {left}")
    named = [f"{name}={value}" for name, value in NAMES.items()]
    made = deploy(emulator, folder, "--yes", "--adopt-tables", "--binaries", folder / "functions", *named, stack="herald2")
    if len(re.findall(r"\|  Import +\|", made)) != len(NAMES):
        raise Failed(f"not all tables are adopted: {made}")
    outputs = formation.describe_stacks(StackName="herald2")["Stacks"][0]["Outputs"]
    outputs = {it["OutputKey"]: it["OutputValue"] for it in outputs}
    api = Api(emulator, outputs["NotificationsEndpoint"])
    kept = api.ask("GET", f"/api/conversations?tenant={TENANT}")["conversations"]
    if len(kept) != 1:
        raise Failed(f"the conversation is not there any more: {kept}")


def run(folder):
    begin = time.monotonic()

    def done(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    binaries = folder / "functions"
    for name in FUNCTIONS:
        (binaries / name).mkdir(parents=True)
        shutil.copy(ROOT / "target/debug" / name, binaries / name / "bootstrap")
    text = (ROOT / "infra/template.yaml").read_text()
    (folder / "template.yaml").write_text(adapted(text))
    emulator = Emulator(folder)
    try:
        done("ministack runs")
        deploy(emulator, folder, "--dry-run", "--binaries", binaries)
        if emulator.client("cloudformation").describe_stacks()["Stacks"]:
            raise Failed("a dry run left a stack")
        done("infra/deploy --dry-run shows a change set and leaves nothing")
        named = [f"{name}={value}" for name, value in NAMES.items()]
        deploy(emulator, folder, "--yes", "--binaries", binaries, *named)
        done("infra/deploy --yes deploys the stack")
        channel = Channel()
        job(emulator, channel, done)
        versions = deploy(emulator, folder, "--versions").split()
        if "Nothing has changed" not in deploy(emulator, folder, "--yes", "--version", versions[-1]):
            raise Failed("the same version is another deployment")
        deploy(emulator, folder, "--yes", "--version", versions[0], "--tag", "team=library", "LogRetentionDays=60")
        done("infra/deploy --version deploys an earlier version, with a tag")
        adopt(emulator, folder)
        done("the stack is deleted, and another adopts its tables")
    except Failed:
        lines = emulator.log.read_text().splitlines()
        print("\n".join(line for line in lines if "ERROR" in line or "denied" in line)[-4000:], file=sys.stderr)
        raise
    finally:
        emulator.process.terminate()
        emulator.process.wait()


def main():
    folder = Path(tempfile.mkdtemp(prefix="herald-"))
    try:
        run(folder)
    except Failed as failure:
        print(f"infra/emulate: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder)
    print("not shown: " + "; ".join(LEFT_OUT.values()))
    for _, why in BESIDE:
        print(f"granted beside the template: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
