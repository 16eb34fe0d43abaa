// The HTTP interface: uploads with progress, problems as errors, the key of this tab.

const KEY = "avse-key";

/** An answer other than success; `code` is one of the service's own, or `offline`. */
export class Problem extends Error {
  constructor(code, detail = "", status = 0, requestId = "") {
    super(detail || code);
    Object.assign(this, { name: "Problem", code, detail, status, requestId });
  }
}

export function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

function headers(more = {}) {
  return key() ? { Authorization: `Bearer ${key()}`, ...more } : more;
}

function problemOf(status, text, requestId) {
  try {
    const body = JSON.parse(text);
    return new Problem(body.code ?? "internal", body.detail ?? "", status, body.request_id ?? requestId);
  } catch {
    const code = { 401: "unauthenticated", 413: "payload_too_large", 503: "draining", 502: "draining" };
    return new Problem(code[status] ?? "internal", "", status, requestId);
  }
}

/** Fetch that throws a Problem for anything but success. */
export async function request(path, { method = "GET", more = {}, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, headers: headers(more), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline");
  }
  if (answer.ok) return answer;
  throw problemOf(answer.status, await answer.text(), answer.headers.get("X-Request-Id") ?? "");
}

export async function json(path, options) {
  return (await request(path, options)).json();
}

/** Send a form; `onProgress` gets 0 to 1 while it goes up. XHR, because fetch cannot tell. */
export function upload(path, fields, { onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    const form = new FormData();
    // Fields first: the server knows what is wanted before the file arrives.
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    call.open("POST", path);
    for (const [name, value] of Object.entries(headers())) call.setRequestHeader(name, value);
    call.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    call.onerror = () => reject(new Problem("offline"));
    call.onabort = () => reject(new DOMException("stopped", "AbortError"));
    call.onload = () => {
      if (call.status < 300) resolve(JSON.parse(call.responseText));
      else reject(problemOf(call.status, call.responseText, call.getResponseHeader("X-Request-Id") ?? ""));
    };
    signal?.addEventListener("abort", () => call.abort());
    if (signal?.aborted) reject(new DOMException("stopped", "AbortError"));
    else call.send(form);
  });
}

export const submitJob = (fields, options) => upload("/v1/jobs", fields, options);
export const findFaces = (file, options) => upload("/v1/faces", { thumbnails: "true", file }, options);
export const readJob = (id, options) => json(`/v1/jobs/${id}`, options);
export const cancelJob = (id) => json(`/v1/jobs/${id}/cancel`, { method: "POST" });
export const deleteJob = (id) => request(`/v1/jobs/${id}`, { method: "DELETE" });
export const contentPath = (id, variant) => `/v1/jobs/${id}/content?variant=${variant}`;
