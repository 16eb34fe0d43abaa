// Following a job to its end: events where the browser can have them, questions where it cannot.

import { Problem, key, readJob } from "./api.js";

const FINAL = ["succeeded", "failed", "canceled"];
const POLL_MS = 700;
const LOOK_MS = 5000;
const MAX_SILENT = 40;

/**
 * Call `onJob` with each new state of a job; resolves with the last one.
 *
 * An EventSource cannot send a key, so with a key the state is asked for again and again.
 */
export async function follow(id, onJob, { signal } = {}) {
  const job = key() || !window.EventSource ? null : await listen(id, onJob, signal);
  return job ?? poll(id, onJob, signal);
}

/** By events; null if they break off for good. */
function listen(id, onJob, signal) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/v1/jobs/${id}/events`);
    let isOver = false;
    const end = (settle, value) => {
      isOver = true;
      source.close();
      clearInterval(timer);
      settle(value);
    };
    // Its place in the queue is no event: look now and then.
    const look = async () => {
      try {
        const job = await readJob(id, { signal });
        if (isOver) return;
        onJob(job);
        if (FINAL.includes(job.status)) end(resolve, job);
      } catch (error) {
        if (!isOver && error.code !== "offline") end(reject, error);
      }
    };
    const timer = setInterval(look, LOOK_MS);
    source.addEventListener("progress", (event) => onJob(asJob(JSON.parse(event.data))));
    for (const name of FINAL) source.addEventListener(name, look);
    source.onerror = () => {
      if (!isOver && source.readyState === EventSource.CLOSED) end(resolve, null);
    };
    signal?.addEventListener("abort", () => end(reject, new DOMException("stopped", "AbortError")));
    look();
  });
}

/** What an event says, as a job would say it. */
function asJob(said) {
  return { ...said, status: said.queue_position == null ? "running" : "queued" };
}

/** By asking; a server that restarts is given half a minute. */
async function poll(id, onJob, signal) {
  for (let nSilent = 0; nSilent < MAX_SILENT;) {
    if (signal?.aborted) throw new DOMException("stopped", "AbortError");
    try {
      const job = await readJob(id, { signal });
      nSilent = 0;
      onJob(job);
      if (FINAL.includes(job.status)) return job;
    } catch (error) {
      if (!["offline", "draining"].includes(error.code)) throw error;
      nSilent += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Problem("offline");
}
