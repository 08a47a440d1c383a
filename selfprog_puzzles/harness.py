"""The agent: asks one question from this process and gets one answer; installs nothing and starts no program."""

from typing import Any

import httpx
import verifiers.v1 as vf

TIMEOUT_S = 600.0


class OneAnswerConfig(vf.HarnessConfig):
    pass


class OneAnswer(vf.Harness[OneAnswerConfig]):
    APPENDS_SYSTEM_PROMPT = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        system, prompt = self.resolve_text_prompt(data)
        messages = [{"role": "user", "content": prompt or ""}]
        if system:
            messages.insert(0, {"role": "system", "content": system})
        asked: dict[str, Any] = {"model": ctx.model, "messages": messages}
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            answer = await client.post(
                f"{endpoint}/chat/completions", json=asked, headers={"Authorization": f"Bearer {secret}"}
            )
        good = answer.status_code == httpx.codes.OK
        return vf.ProgramResult(exit_code=int(not good), stdout="", stderr="" if good else answer.text)
