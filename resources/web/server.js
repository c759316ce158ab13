// What is asked of the server. Every fault becomes a Refused with a code; an answer comes piece by piece.

export class Refused extends Error {
  /** code: of the server, or `unreachable` and `lost` of the connection; reason: in the server's own words. */
  constructor(code, reason = "") {
    super(reason || code);
    this.code = code;
    this.reason = reason;
  }
}

/** The names of the models, the one first that answers by itself. */
export async function models(key) {
  const answer = await ask("/v1/models", key);
  return (await answer.json()).data.map((model) => model.id);
}

export async function description(key) {
  return (await ask("/openapi.json", key)).json();
}

/** Yields {text, thinking, model, finish, tokens} as they come. Throws Refused; an AbortError when `signal` ends it. */
export async function* reply(body, key, signal) {
  const asked = { ...body, stream: true, stream_options: { include_usage: true } };
  const answer = await ask("/v1/chat/completions", key, {
    method: "POST",
    body: JSON.stringify(asked),
    headers: { "Content-Type": "application/json" },
    signal,
  });
  for await (const data of events(answer.body, signal)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(chunk.error.code, chunk.error.message);
    const [choice] = chunk.choices;
    yield {
      model: chunk.model,
      text: choice?.delta.content ?? "",
      thinking: choice?.delta.reasoning_content ?? "",
      finish: choice?.finish_reason ?? "",
      tokens: chunk.usage?.completion_tokens ?? 0,
    };
  }
  throw new Refused("lost");
}

async function ask(path, key, options = {}) {
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused("unreachable");
  }
  if (answer.ok) return answer;
  const fault = (await answer.json().catch(() => ({}))).error ?? {};
  throw new Refused(fault.code ?? String(answer.status), fault.message ?? answer.statusText);
}

/** The data of each event of a text/event-stream, however it was cut into pieces. */
async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused("lost");
  } finally {
    reader.cancel().catch(() => {});
  }
}
