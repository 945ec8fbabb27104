"""A model of ours: it speaks as the makers' do, and does what the prompt's own text says.

What to answer is a script in the conversation, `@@[steps]@@`, a JSON list. One step is one answer;
which is next is told by the number of tool results that came after the script. So it keeps no
state, and real agents run against it as against a model.

    {"write": PATH, "text": TEXT}   a call of the agent's own tool that writes files
    {"run": COMMAND}                a call of its shell
    {"say": TEXT}                   a last word
    {"plan": [TEXT, …]}             a call of its tool for plans; passed over where it has none
    {"status": 401}                 an HTTP error
    {"hang": SECONDS, …}            the same, after so long; at once when it is asked again

It speaks Anthropic Messages, OpenAI Responses and Chat Completions, and Gemini, as streams and in
one piece, and counts the usage that it served.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_SCRIPT = re.compile(r"@@(\[.*?\])@@", re.DOTALL)
_DONE = {"say": "All done."}
_IDS = itertools.count(1)

INPUT, OUTPUT, CACHED = 1_200, 50, 100
"""Tokens of the first answer; each later one has one more of the first two."""

Step = dict[str, Any]
Json = dict[str, Any]


@dataclass(slots=True)
class Served:
    """What the model served: `input_tokens` with those that came out of a cache."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its path, the key that it came with, and what was answered."""

    path: str
    key: str
    step: Step


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool that the agent offers; `free` where its input is no JSON."""

    name: str
    arguments: Any
    free: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request is answered: a text or a call, with its tokens."""

    text: str
    call: Call | None
    tokens: tuple[int, int, int]
    model: str


@dataclass(slots=True)
class Model:
    """The server's state: what was asked, and what was served."""

    url: str = ""
    served: Served = field(default_factory=Served)
    asked: list[Asked] = field(default_factory=list)
    hung: set[str] = field(default_factory=set)

    def forget(self) -> None:
        """Count anew."""
        self.served, self.asked = Served(), []

    def app(self) -> Starlette:
        """The web application."""
        post = {
            "/v1/messages": self._anthropic,
            "/v1/responses": self._responses,
            "/v1/chat/completions": self._chat,
            "/v1beta/models/{call}": self._gemini,
        }
        routes = [Route(path, each, methods=["POST"]) for path, each in post.items()]
        return Starlette(routes=[*routes, Route("/{path:path}", _other, methods=["GET", "HEAD"])])

    async def _anthropic(self, request: Request) -> Response:
        body = await request.json()
        tools = {each["name"]: False for each in body.get("tools") or () if "name" in each}
        answer = await self._answer(request, body, _heard_by_claude(body), tools)
        if isinstance(answer, Response):
            return answer
        made = _claude(answer)
        return _sse(_claude_stream(made), named=True) if body.get("stream") else JSONResponse(made)

    async def _responses(self, request: Request) -> Response:
        body = await request.json()
        tools = _tools_of_codex(body)
        answer = await self._answer(request, body, _heard_by_codex(body), tools)
        if isinstance(answer, Response):
            return answer
        made = _codex(answer)
        return _sse(_codex_stream(made), named=True) if body.get("stream") else JSONResponse(made)

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        tools = {t["function"]["name"]: False for t in body.get("tools") or () if "function" in t}
        answer = await self._answer(request, body, _heard_in_chat(body), tools)
        if isinstance(answer, Response):
            return answer
        if body.get("stream"):
            return _sse(_chat_stream(answer), done=True)
        return JSONResponse(_chat(answer))

    async def _gemini(self, request: Request) -> Response:
        body, call = await request.json(), request.path_params["call"]
        if call.endswith(":countTokens"):
            return JSONResponse({"totalTokens": INPUT})
        given = body.get("tools") or ()
        tools = {f["name"]: False for t in given for f in t.get("functionDeclarations") or ()}
        body["model"] = call.partition(":")[0]
        answer = await self._answer(request, body, _heard_by_gemini(body), tools)
        if isinstance(answer, Response):
            return answer
        made = _gemini(answer, body)
        return _sse([made]) if "stream" in call else JSONResponse(made)

    async def _answer(
        self,
        request: Request,
        body: Json,
        heard: Iterable[tuple[str, str]],
        tools: Mapping[str, bool],
    ) -> Answer | Response:
        step = _next(heard, tools)
        self.asked.append(Asked(request.url.path, _key(request), step))
        if "hang" in step:
            await asyncio.sleep(self._hangs(step))
        if status := step.get("status"):
            error = {"type": "error", "message": f"scripted {status}", "code": str(status)}
            return JSONResponse({"type": "error", "error": error}, status)
        call = _call(step, tools)
        tokens = (INPUT + self.served.requests, OUTPUT + self.served.requests, CACHED)
        self.served.requests += 1
        self.served.input_tokens += tokens[0]
        self.served.output_tokens += tokens[1]
        self.served.cached_tokens += tokens[2]
        text = "" if call else str(step.get("say", f"no tool for {step} in {sorted(tools)}"))
        return Answer(text, call, tokens, str(body.get("model")))

    def _hangs(self, step: Step) -> float:
        """Not again: whoever asks a second time has been interrupted, and goes on."""
        seconds = 0.0 if str(step) in self.hung else float(step["hang"])
        self.hung.add(str(step))
        return seconds


@contextlib.asynccontextmanager
async def serve_model() -> AsyncIterator[Model]:
    """Serve a model on a free port of this machine, on the present loop."""
    model = Model()
    listening = socket.create_server(("127.0.0.1", 0))
    model.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(
        model.app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield model
    finally:
        server.should_exit = True
        await serving


def script(*steps: Step) -> str:
    """Write steps so that they can stand in a prompt."""
    return f"@@{json.dumps(steps)}@@"


# -- what is next


def _next(heard: Iterable[tuple[str, str]], tools: Mapping[str, bool]) -> Step:
    steps: list[Step] = []
    at = 0
    for kind, text in heard:
        if kind == "result":
            at += 1
        elif (found := _steps(text)) is not None:
            steps, at = found, 0
    if not tools:
        return {"say": "A side answer."}  # titles and the like
    steps = [step for step in steps if "plan" not in step or _call(step, tools)]
    return steps[at] if at < len(steps) else _DONE


def _steps(text: str) -> list[Step] | None:
    for found in reversed(_SCRIPT.findall(text)):
        for written in (found, found.replace('\\"', '"').replace("\\\\", "\\")):
            with contextlib.suppress(ValueError):
                steps: list[Step] = json.loads(written)
                return steps
    return None


_WRITERS = {
    "Write": ("file_path", "content"),
    "write_file": ("file_path", "content"),
    "create": ("path", "file_text"),
    "write": ("filePath", "content"),
}
_SHELLS = ("Bash", "bash", "run_shell_command", "exec_command", "shell_command")
_PLANS: Mapping[str, tuple[str, str, Json]] = {
    "TodoWrite": ("todos", "content", {"status": "pending", "activeForm": "doing"}),
    "update_plan": ("plan", "step", {"status": "pending"}),
    "write_todos": ("todos", "description", {"status": "pending"}),
    "todowrite": ("todos", "content", {"status": "pending", "priority": "low", "id": "1"}),
}


def _call(step: Step, tools: Mapping[str, bool]) -> Call | None:
    if "write" in step:
        return _write(step["write"], step.get("text", ""), tools)
    if "run" in step:
        return _shell(step["run"], tools)
    if "plan" in step:
        for name, (key, word, more) in _PLANS.items():
            if name in tools:
                return Call(name, {key: [{word: text, **more} for text in step["plan"]]})
    return None


def _write(path: str, text: str, tools: Mapping[str, bool]) -> Call | None:
    for name, (where, what) in _WRITERS.items():
        if name in tools:
            return Call(name, {where: path, what: text})
    if "apply_patch" in tools:
        lines = "".join(f"+{line}\n" for line in text.splitlines())
        patch = f"*** Begin Patch\n*** Add File: {path}\n{lines}*** End Patch\n"
        if tools["apply_patch"]:
            return Call("apply_patch", patch, free=True)
        return Call("apply_patch", {"input": patch, "patch": patch, "patchText": patch})
    folder = path.rpartition("/")[0] or "."
    return _shell(f"mkdir -p {folder}; cat > {path} <<'END'\n{text.rstrip()}\nEND", tools)


def _shell(command: str, tools: Mapping[str, bool]) -> Call | None:
    for name in _SHELLS:
        if name in tools:
            key = "cmd" if name == "exec_command" else "command"
            return Call(name, {key: command, "description": "a scripted command"})
    if tools.get("exec"):  # a program in JavaScript, with the tools at its hand
        asked = json.dumps({"cmd": command})
        return Call("exec", f"text((await tools.exec_command({asked})).output)", free=True)
    return None


# -- what was heard, from each maker's form of a conversation


def _heard_by_claude(body: Json) -> Iterable[tuple[str, str]]:
    for message in body["messages"]:
        if message["role"] == "assistant":
            continue  # the rest are the user, and what the user said meanwhile, as the system
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if any(part["type"] == "tool_result" for part in parts):
            yield "result", ""
        yield from (("user", part["text"]) for part in parts if part["type"] == "text")


def _heard_by_codex(body: Json) -> Iterable[tuple[str, str]]:
    given = body["input"]
    if isinstance(given, str):
        yield "user", given
        return
    for item in given:
        kind = item.get("type", "message")
        if kind.endswith("_output"):
            yield "result", ""
        elif kind == "message" and item.get("role") == "user":
            yield "user", _flat(item.get("content"))


def _heard_in_chat(body: Json) -> Iterable[tuple[str, str]]:
    for message in body["messages"]:
        if message["role"] == "tool":
            yield "result", ""
        elif message["role"] == "user":
            yield "user", _flat(message.get("content"))


def _heard_by_gemini(body: Json) -> Iterable[tuple[str, str]]:
    for message in body["contents"]:
        if message.get("role") == "model":
            continue
        parts = message.get("parts") or ()
        if any("functionResponse" in part for part in parts):
            yield "result", ""
        yield from (("user", part["text"]) for part in parts if part.get("text"))


def _tools_of_codex(body: Json) -> dict[str, bool]:
    """Its newer models are given their tools within the conversation, in groups."""
    found = list(body.get("tools") or ())
    given = body["input"] if isinstance(body["input"], list) else ()
    groups = [t for item in given if item.get("type") == "additional_tools" for t in item["tools"]]
    found += [tool for group in groups for tool in group.get("tools") or (group,)]
    kinds = {"function": False, "custom": True}
    return {tool["name"]: kinds[tool["type"]] for tool in found if tool.get("type") in kinds}


def _flat(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content or ())


def _key(request: Request) -> str:
    headers = request.headers
    given = headers.get("x-api-key") or headers.get("x-goog-api-key")
    return given or headers.get("authorization", "").removeprefix("Bearer ")


# -- how it is answered, in each maker's form


def _id(prefix: str) -> str:
    return f"{prefix}_{next(_IDS):06d}"


def _claude(answer: Answer) -> Json:
    given, made, cached = answer.tokens
    content: list[Json] = [{"type": "text", "text": answer.text}] if answer.text else []
    if call := answer.call:
        use = {"type": "tool_use", "id": _id("toolu"), "name": call.name, "input": call.arguments}
        content.append(use)
    return {
        "id": _id("msg"),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": content,
        "stop_reason": "tool_use" if call else "end_turn",
        "stop_sequence": None,
        "usage": {
            # Here alone what came out of the cache is not part of the input.
            "input_tokens": given - cached,
            "output_tokens": made,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
        },
    }


def _claude_stream(made: Json) -> Iterable[Json]:
    usage = {**made["usage"], "output_tokens": 1}
    yield {
        "type": "message_start",
        "message": {**made, "content": [], "stop_reason": None, "usage": usage},
    }
    for index, block in enumerate(made["content"]):
        empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block.get("text")}
        if block["type"] == "tool_use":
            empty = {**block, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": made["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": made["usage"]}
    yield {"type": "message_stop"}


def _codex(answer: Answer) -> Json:
    given, made, cached = answer.tokens
    if call := answer.call:
        kind, key = ("custom_tool_call", "input") if call.free else ("function_call", "arguments")
        said = call.arguments if call.free else json.dumps(call.arguments)
        item = {"type": kind, "id": _id("fc"), "call_id": _id("call"), "name": call.name, key: said}
        if call.name == "exec":
            item["namespace"] = "functions"
    else:
        text = {"type": "output_text", "text": answer.text, "annotations": []}
        item = {"type": "message", "id": _id("msg"), "role": "assistant", "content": [text]}
    return {
        "id": _id("resp"),
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": answer.model,
        "output": [{**item, "status": "completed"}],
        "usage": {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": given + made,
        },
    }


def _codex_stream(made: Json) -> Iterable[Json]:
    numbers = itertools.count()
    begun = {**made, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "sequence_number": next(numbers), "response": begun}
    for index, item in enumerate(made["output"]):
        at = {"output_index": index}
        added = {**item, "status": "in_progress"}
        if item["type"] == "message":
            added["content"] = []
        number = next(numbers)
        yield {
            "type": "response.output_item.added",
            "sequence_number": number,
            **at,
            "item": added,
        }
        if item["type"] == "message":
            place = {**at, "content_index": 0, "item_id": item["id"]}
            said = {"delta": item["content"][0]["text"]}
            number = next(numbers)
            yield {
                "type": "response.output_text.delta",
                "sequence_number": number,
                **place,
                **said,
            }
        number = next(numbers)
        yield {"type": "response.output_item.done", "sequence_number": number, **at, "item": item}
    yield {"type": "response.completed", "sequence_number": next(numbers), "response": made}


def _chat_usage(answer: Answer) -> Json:
    given, made, cached = answer.tokens
    details = {"cached_tokens": cached}
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made,
        "prompt_tokens_details": details,
    }


def _chat_calls(call: Call) -> list[Json]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return [{"id": _id("call"), "type": "function", "function": function}]


def _chat(answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None}
    if answer.call:
        message["tool_calls"] = _chat_calls(answer.call)
    finish = "tool_calls" if answer.call else "stop"
    return {
        "id": _id("chatcmpl"),
        "object": "chat.completion",
        "created": 0,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _chat_usage(answer),
    }


def _chat_stream(answer: Answer) -> Iterable[Json]:
    base = {"id": _id("chatcmpl"), "created": 0, "model": answer.model}
    base["object"] = "chat.completion.chunk"

    def piece(delta: Json, finish: str | None = None) -> Json:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield piece({"role": "assistant", "content": answer.text})
    if answer.call:
        calls = [{"index": 0, **call} for call in _chat_calls(answer.call)]
        yield piece({"tool_calls": calls})
    yield piece({}, "tool_calls" if answer.call else "stop")
    yield {**base, "choices": [], "usage": _chat_usage(answer)}


def _gemini(answer: Answer, body: Json) -> Json:
    given, made, cached = answer.tokens
    text = answer.text
    if (body.get("generationConfig") or {}).get("responseMimeType") == "application/json":
        # It asks a small model which model to ask, and who speaks next.
        text = json.dumps(
            {
                "complexity_score": 10,
                "complexity_reasoning": "-",
                "reasoning": "-",
                "model_choice": "flash",
                "next_speaker": "user",
            }
        )
    part: Json = {"text": text}
    if call := answer.call:
        part = {"functionCall": {"name": call.name, "args": call.arguments}}
    return {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": [part]},
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": given,
            "candidatesTokenCount": made,
            "cachedContentTokenCount": cached,
            "totalTokenCount": given + made,
        },
        "modelVersion": answer.model,
        "responseId": _id("r"),
    }


def _sse(items: Iterable[Json], *, named: bool = False, done: bool = False) -> Response:
    async def lines() -> AsyncIterator[str]:
        for item in items:
            name = f"event: {item['type']}\n" if named else ""
            yield f"{name}data: {json.dumps(item)}\n\n"
        if done:
            yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


async def _other(request: Request) -> Response:
    """What agents look at besides: whether the server is there, and which models it has."""
    if not request.url.path.endswith("/models"):
        return JSONResponse({})
    made = {"object": "model", "type": "model", "created": 0, "owned_by": "test"}
    names = ("claude-sonnet-4-5", "gpt-5-codex", "gpt-4.1", "gemini-2.5-flash")
    data = [{"id": name, "display_name": name, **made} for name in names]
    return JSONResponse({"object": "list", "data": data, "models": [], "has_more": False})


def main() -> None:
    """Serve until interrupted, to try a program by hand: python -m tests.support.model."""

    async def forever() -> None:
        async with serve_model() as model:
            print(model.url, flush=True)
            await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(forever())


if __name__ == "__main__":
    main()
