"""Requests made of the OpenAPI document, sensible and not: none may hang or end in a fault of ours."""

from __future__ import annotations

from collections import Counter

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
SLOWEST_S = 60.0


def fuzz(address: str, cases: int, key: str = "none", seed: int | None = None) -> Counter[int]:
    """How many answers there were of each status.

    Raises:
        AssertionError: for a status of 500 and above. httpx.TimeoutException: for none at all.
    """
    document = httpx.get(f"{address}/openapi.json", headers={"authorization": f"Bearer {key}"}, timeout=20).json()
    schema = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    strategies = [each.as_strategy(generation_mode=mode) for each in operations for mode in MODES]
    statuses: Counter[int] = Counter()

    with httpx.Client(base_url=address, timeout=SLOWEST_S, headers={"authorization": f"Bearer {key}"}) as client:

        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            derandomize=seed is not None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.one_of(strategies))
        def ask(case: schemathesis.Case) -> None:
            if isinstance(case.body, dict):  # the figures are not about long answers
                case.body.setdefault("max_tokens", 3)
            sent = case.as_transport_kwargs(base_url=address)
            sent = {name: sent[name] for name in ("method", "url", "headers", "params", "json", "data") if name in sent}
            headers = {name: value for name, value in dict(sent.pop("headers", {})).items() if name.lower() != "host"}
            content = sent.pop("data", None)
            if isinstance(content, str | bytes):
                sent["content"] = content
            try:
                answer = client.request(**sent, headers=headers)
            except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError):  # cannot even be sent
                return
            except httpx.TransportError as error:
                raise AssertionError((error, sent, headers)) from error
            statuses[answer.status_code] += 1
            is_fault = answer.status_code >= 500 or '"server_error"' in answer.text
            assert not is_fault, (answer.status_code, answer.text[:500], sent)

        ask()
    return statuses
