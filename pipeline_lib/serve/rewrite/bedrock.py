"""Amazon Bedrock as provider, through the Converse interface, which takes the same question for every model.

Region and credentials are the function's; its role needs ``bedrock:InvokeModel`` on the one model. One attempt:
a second one would exceed the caller's patience, and the template's text is there.
Source: API reference of ``bedrock-runtime``, Converse.
"""

from __future__ import annotations

from typing import Any

from pipeline_lib.serve.rewrite.provider import Prompt, ProviderFailed

CONNECT_S = 3.0


class Bedrock:
    """Args: model_id: a model or an inference profile. max_tokens: of one answer. timeout_s: of one answer [s]."""

    def __init__(self, model_id: str, max_tokens: int, timeout_s: float, client: Any = None) -> None:
        self.name = f"bedrock:{model_id}"
        self._model, self._max_tokens, self._timeout = model_id, max_tokens, timeout_s
        self._client = client

    def ask(self, prompt: Prompt) -> str:
        """The text of one answer. Raises ProviderFailed; an answer that was cut off is none."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._opened().converse(
                modelId=self._model,
                system=[{"text": prompt.system}],
                messages=[{"role": "user", "content": [{"text": prompt.text}]}],
                inferenceConfig={"maxTokens": self._max_tokens, "temperature": prompt.temperature},
            )
            return _text(answer)
        except (BotoCoreError, ClientError) as error:
            raise ProviderFailed(f"{self.name}: {type(error).__name__}") from error

    def _opened(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            config = Config(connect_timeout=CONNECT_S, read_timeout=self._timeout, retries={"total_max_attempts": 1})
            self._client = boto3.client("bedrock-runtime", config=config)
        return self._client


def _text(answer: Any) -> str:
    try:
        stopped, blocks = answer["stopReason"], answer["output"]["message"]["content"]
        text = "".join(block.get("text", "") for block in blocks)
    except (KeyError, TypeError, AttributeError) as error:
        raise ProviderFailed(f"an answer without {error}") from error
    if stopped != "end_turn" or not text:
        raise ProviderFailed(f"the model stopped with {stopped}")
    return text
