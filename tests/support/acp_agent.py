#!/usr/bin/env python3
"""An agent of ours that speaks the Agent Client Protocol, and does what its prompt says.

It needs nothing but Python, so it runs in any sandbox and starts in milliseconds. The prompt holds
a script, `@@[steps]@@`, a JSON list; what it may say stands in `STEPS`. Its sessions are files in
its home, so that it can load one after it was killed.

    --no-load   it cannot load sessions
    --login     it wants a login
    --mute      it never answers
    --noise     it begins with lines that are no messages
"""

from __future__ import annotations

import json
import os
import queue
import re
import sys
import threading
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Json = dict[str, Any]

# The outermost, since a script may hold one for the model; else the last of several.
_SCRIPTS = (
    re.compile(r"@@(\[.*\])@@", re.DOTALL),
    re.compile(r".*@@(\[.*?\])@@", re.DOTALL),
)
_NOTHING_TO_DO = [{"say": "There is nothing to do."}]
LOGIN_WANTED = -32000


class Cancelled(Exception):
    """The client said stop."""


class Agent:
    """One process, which may hold several sessions."""

    def __init__(self, flags: list[str]) -> None:
        self._flags = flags
        self._heard: queue.Queue[Json] = queue.Queue()
        self._answers: dict[int, queue.Queue[Json]] = {}
        self._asked = 0
        self._calls = 0
        self._session = ""
        self._cwd = ""
        self._stop = threading.Event()
        self._home = Path(os.environ["HOME"], ".scripted")

    def run(self) -> None:
        """Read until the client goes away."""
        threading.Thread(target=self._work, daemon=True).start()
        if "--noise" in self._flags:
            print("Welcome!\n[1, 2]\n", flush=True)
        for line in sys.stdin:
            message = json.loads(line)
            if message.get("method") == "session/cancel":
                self._stop.set()
            elif "method" in message:
                self._heard.put(message)
            else:
                self._answers.pop(message["id"]).put(message)

    def _work(self) -> None:
        try:
            self._answer_all()
        finally:
            os._exit(70)  # what broke here, nobody answers any more

    def _answer_all(self) -> None:
        while True:
            message = self._heard.get()
            if "--mute" in self._flags:
                continue
            if "--login" in self._flags and message["method"] == "session/new":
                error = {"code": LOGIN_WANTED, "message": "Authentication required"}
                self._send({"id": message["id"], "error": error})
                continue
            answer = METHODS[message["method"]](self, message["params"])
            self._send({"id": message["id"], "result": answer})

    def _send(self, message: Json) -> None:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()

    def _ask(self, method: str, params: Json) -> Json:
        self._asked += 1
        answers = self._answers[self._asked] = queue.Queue()
        self._send({"id": self._asked, "method": method, "params": params})
        answer: Json = answers.get()
        return answer

    def _tell(self, update_kind: str, **update: Any) -> None:
        told = {"sessionId": self._session, "update": {"sessionUpdate": update_kind, **update}}
        self._send({"method": "session/update", "params": told})

    # -- methods

    def initialize(self, params: Json) -> Json:
        """Say what it can."""
        can = {"loadSession": "--no-load" not in self._flags}
        return {"protocolVersion": params["protocolVersion"], "agentCapabilities": can}

    def new(self, params: Json) -> Json:
        """Begin a session."""
        self._session, self._cwd = os.urandom(8).hex(), params["cwd"]
        self._file.parent.mkdir(exist_ok=True)
        self._file.write_text("")
        return {"sessionId": self._session}

    def load(self, params: Json) -> Json:
        """Go on with a session, and tell all that was in it first."""
        self._session, self._cwd = params["sessionId"], params["cwd"]
        for line in self._file.read_text().splitlines():
            self._tell("user_message_chunk", content={"type": "text", "text": line})
            self._tell("agent_message_chunk", content={"type": "text", "text": f"past: {line}"})
        return {}

    def prompt(self, params: Json) -> Json:
        """Do what the script says."""
        self._stop.clear()
        text = "".join(block.get("text", "") for block in params["prompt"])
        with self._file.open("a") as file:
            file.write(json.dumps(text) + "\n")
        try:
            for step in _script(text):
                self._calls += 1
                for word, value in step.items():
                    if word in STEPS:
                        STEPS[word](self, value, step)
                if self._stop.is_set():
                    raise Cancelled
        except Cancelled:
            return {"stopReason": "cancelled"}
        usage = {"inputTokens": 12, "outputTokens": 3, "totalTokens": 15}
        return {"stopReason": "end_turn", "usage": usage}

    @property
    def _file(self) -> Path:
        return self._home / self._session

    # -- steps

    def say(self, text: str, _: Json) -> None:
        """Say something, in pieces."""
        for piece in re.findall(r"\s*\S+|\s+$", text):
            self._tell("agent_message_chunk", content={"type": "text", "text": piece})

    def think(self, text: str, _: Json) -> None:
        """Think aloud."""
        self._tell("agent_thought_chunk", content={"type": "text", "text": text})

    def plan(self, steps: list[str], _: Json) -> None:
        """Tell a plan."""
        entries = [{"content": each, "priority": "medium", "status": "pending"} for each in steps]
        self._tell("plan", entries=entries)

    def write(self, path: str, step: Json) -> None:
        """Ask for leave, and write a file."""
        full, text = str(Path(self._cwd, path)), step.get("text", "")
        diff = {"type": "diff", "path": full, "oldText": None, "newText": text}
        if self._may(f"Write {path}", "edit", {"locations": [{"path": full}], "content": [diff]}):
            try:
                Path(full).parent.mkdir(parents=True, exist_ok=True)
                Path(full).write_text(text)
            except OSError as error:
                self._done("failed")
                self.say(f"{path}: {error.strerror}. ", {})
            else:
                self._done("completed", content=[diff])

    def run_(self, command: str, _: Json) -> None:
        """Ask for leave, and run a command; what it prints is said."""
        import subprocess  # not needed to start, which is measured

        if self._may(command, "execute", {"rawInput": {"command": command}}):
            argv = ["/bin/sh", "-c", command]
            ran = subprocess.run(argv, cwd=self._cwd, capture_output=True, text=True, check=False)
            self._done("failed" if ran.returncode else "completed")
            self.say(ran.stdout + ran.stderr, {})

    def _may(self, title: str, kind: str, more: Json) -> bool:
        call = {"toolCallId": f"call-{self._calls}", "title": title, "kind": kind, **more}
        self._tell("tool_call", status="pending", **call)
        options = [
            {"optionId": "yes", "name": "Allow", "kind": "allow_once"},
            {"optionId": "no", "name": "Reject", "kind": "reject_once"},
        ]
        params = {"sessionId": self._session, "toolCall": call, "options": options}
        outcome = self._ask("session/request_permission", params)["result"]["outcome"]
        if outcome.get("optionId") == "yes":
            return True
        self._done("failed")
        self.say(f"{title} was denied. ", {})
        return False

    def _done(self, status: str, **more: Any) -> None:
        self._tell("tool_call_update", toolCallId=f"call-{self._calls}", status=status, **more)

    def model(self, text: str, _: Json) -> None:
        """Ask a model, by way of what the variables name."""
        import urllib.request  # takes longer to load than all else together

        body = {"model": "claude-sonnet-4-5", "max_tokens": 100, "tools": [{"name": "Write"}]}
        body["messages"] = [{"role": "user", "content": text}]
        request = urllib.request.Request(  # noqa: S310
            os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
            json.dumps(body).encode(),
            {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                made = json.load(answer)
        except urllib.error.HTTPError as error:
            self.say(f"The model's server answered {error.code}. ", {})
        else:
            self.say(made["content"][0].get("text", "A call."), {})

    def time(self, _words: str, _: Json) -> None:
        """Say what time it is, in seconds since the epoch."""
        self.say(f"at {time.time():.4f}\n", {})

    def wait(self, seconds: float, _: Json) -> None:
        """Wait, unless it is told to stop."""
        self._stop.wait(seconds)

    def hang(self, seconds: float, _: Json) -> None:
        """Wait, whatever it is told."""
        time.sleep(seconds)

    def loop(self, times: int, _: Json) -> None:
        """Look at the same file again and again."""
        for number in range(times):
            call = {"toolCallId": f"loop-{self._calls}-{number}", "rawInput": {"path": "notes.txt"}}
            self._tell("tool_call", title="Read notes.txt", kind="read", status="completed", **call)
            time.sleep(0.01)

    def events(self, count: int, _: Json) -> None:
        """Tell of many different calls."""
        for number in range(count):
            call = {"toolCallId": f"event-{self._calls}-{number}", "title": f"Read {number}"}
            self._tell("tool_call", kind="read", status="completed", **call)

    def flood(self, lines: int, _: Json) -> None:
        """Say more than anybody wants to hear."""
        for _number in range(lines):
            self.say("much " * 200 + "\n", {})

    def garbage(self, lines: int, _: Json) -> None:
        """Print what is no message."""
        for number in range(lines):
            print(f"<{number}>", flush=True)

    def die(self, code: int, _: Json) -> None:
        """End at once."""
        print("something broke", file=sys.stderr, flush=True)
        os._exit(code)


def _script(text: str) -> list[Json]:
    for form in _SCRIPTS:
        if found := form.search(text):
            try:
                steps: list[Json] = json.loads(found[1])
            except ValueError:
                continue
            return steps
    return _NOTHING_TO_DO


METHODS: dict[str, Callable[[Agent, Json], Json]] = {
    "initialize": Agent.initialize,
    "session/new": Agent.new,
    "session/load": Agent.load,
    "session/prompt": Agent.prompt,
}
STEPS: dict[str, Callable[[Agent, Any, Json], None]] = {
    "say": Agent.say,
    "think": Agent.think,
    "plan": Agent.plan,
    "write": Agent.write,
    "run": Agent.run_,
    "model": Agent.model,
    "time": Agent.time,
    "wait": Agent.wait,
    "hang": Agent.hang,
    "loop": Agent.loop,
    "events": Agent.events,
    "flood": Agent.flood,
    "garbage": Agent.garbage,
    "die": Agent.die,
}

if __name__ == "__main__":
    Agent(sys.argv[1:]).run()
