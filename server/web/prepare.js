// The chosen clip: its picture, its faces, and what is to be done with it.

import { deleteJob, findFaces, json, submitJob } from "./api.js";
import { chooseFace, chosenFace, showFaces } from "./faces.js";
import { follow } from "./follow.js";
import { Stage } from "./stage.js";
import { explain, fileSize, minutes } from "./words.js";

const LOOK_UNASKED_BYTES = 40e6; // larger or longer clips are searched for faces only when asked to
const METADATA_WAIT_MS = 4000;
// What no other choice on this page can mend.
const HOPELESS = new Set([
  "unsupported_container", "unsupported_codec", "undecodable", "no_audio", "too_short",
  "resolution_limit", "frame_rate_limit", "too_many_streams",
]);

const at = (id) => document.getElementById(id);

/**
 * The part of the page on which a clip is looked at.
 *
 * `onError(error, retry)` shows what went wrong, `onRefuse(error)` that only another clip will do.
 */
export class Prepare {
  file = null;
  #limits = { job_max_bytes: 1e9, job_max_s: 1800, sync_max_bytes: 100e6, sync_max_s: 60 };
  #looking = null;
  #stage;
  #onError;
  #onRefuse;

  constructor(onError, onRefuse) {
    [this.#onError, this.#onRefuse] = [onError, onRefuse];
    this.#stage = new Stage(at("preview"), at("boxes"), (id) => {
      chooseFace(at("faces"), String(id));
      this.#stage.choose(String(id));
    });
    at("faces").addEventListener("change", () => this.#stage.choose(chosenFace(at("faces"))));
    at("find-faces").addEventListener("click", () => this.#look());
    this.#wirePlay(at("preview"), at("preview-play"));
    at("strength").addEventListener("input", () => {
      at("strength-value").textContent = `${at("strength").value} %`;
    });
  }

  /** The server's own limits, where it says them; the page works without. */
  async askLimits() {
    try {
      this.#limits = { ...this.#limits, ...(await json("/v1/metadata")).limits };
    } catch {
      // What the page says already is the default.
    }
    at("limits").textContent = `Video or sound, up to ${this.#maxWords()}`;
  }

  #maxWords() {
    return `${fileSize(this.#limits.job_max_bytes)} and ${minutes(this.#limits.job_max_s)}`;
  }

  /** What is wrong with a file before it is sent, as an error; null if nothing can be seen. */
  fault(file) {
    if (file.size === 0) return { code: "undecodable", detail: `${file.name} is empty` };
    if (file.size <= this.#limits.job_max_bytes) return null;
    return { code: "payload_too_large", detail: `It has ${fileSize(file.size)}; this server takes ${this.#maxWords()}.` };
  }

  /** Show a clip and look for its faces. */
  async open(file) {
    this.close();
    this.file = file;
    at("clip-name").textContent = file.name;
    at("clip-size").textContent = fileSize(file.size);
    at("faces-note").textContent = "";
    at("find-faces").hidden = true;
    at("who").hidden = file.type.startsWith("audio/");
    showFaces(at("faces"));
    const durationS = await this.#preview(file);
    if (this.file !== file) return;
    if (durationS > this.#limits.job_max_s) {
      this.#refuse({ code: "too_long", detail: `It lasts ${minutes(durationS)}; this server takes ${this.#maxWords()}.` });
    } else if (!at("who").hidden) {
      const isLong = file.size > LOOK_UNASKED_BYTES || durationS > this.#limits.sync_max_s;
      if (isLong) at("find-faces").hidden = false;
      else this.#look();
    }
  }

  /** Leave the clip; nothing of it is kept. */
  close() {
    this.rest();
    this.#looking = null;
    this.file = null;
    const video = at("preview");
    if (video.src) URL.revokeObjectURL(video.src);
    video.removeAttribute("src");
    video.load();
    at("stage").hidden = true;
    this.#stage.show();
  }

  /** Stop looking and playing: the work begins. */
  rest() {
    this.#looking?.abort();
    at("preview").pause();
  }

  /** What is asked of the service. */
  fields() {
    return {
      kind: "enhancement",
      face: at("who").hidden ? "auto" : chosenFace(at("faces")),
      mode: at("mode").value,
      strength: String(at("strength").value / 100),
      output: "wav",
      file: this.file,
    };
  }

  /** Show the picture; resolves with the seconds it lasts, NaN where the browser cannot tell. */
  #preview(file) {
    const video = at("preview");
    const told = new Promise((resolve) => {
      video.onloadedmetadata = () => resolve(video.duration);
      video.onerror = () => resolve(NaN);
      setTimeout(() => resolve(NaN), METADATA_WAIT_MS);
    });
    video.onloadeddata = () => { at("stage").hidden = video.videoWidth === 0; };
    video.src = URL.createObjectURL(file);
    return told;
  }

  #wirePlay(video, button) {
    button.addEventListener("click", () => (video.paused ? video.play().catch(() => {}) : video.pause()));
    for (const name of ["play", "pause", "ended"]) {
      video.addEventListener(name, () => {
        button.classList.toggle("is-playing", !video.paused);
        button.setAttribute("aria-label", video.paused ? "Play the clip" : "Pause the clip");
      });
    }
  }

  #refuse(error) {
    const { name } = this.file;
    this.close();
    this.#onRefuse({ code: error.code, requestId: error.requestId, detail: `${name}: ${error.detail}` });
  }

  async #look() {
    this.#looking?.abort();
    const looking = new AbortController();
    this.#looking = looking;
    at("find-faces").hidden = true;
    at("faces-note").textContent = "Looking for faces…";
    at("who").classList.add("is-busy");
    try {
      const tracks = await this.#tracks(looking.signal);
      showFaces(at("faces"), tracks);
      this.#stage.show(tracks);
      at("faces-note").textContent = at("status").textContent = facesNote(tracks.length);
    } catch (error) {
      if (this.#looking === looking) this.#notFound(error, looking.signal.aborted);
    } finally {
      if ([looking, null].includes(this.#looking)) {
        at("who").classList.remove("is-busy");
        this.#looking = null;
      }
    }
  }

  /** The faces, on one connection where that is allowed, else as a job. */
  async #tracks(signal) {
    const isLong = this.file.size > this.#limits.sync_max_bytes || at("preview").duration > this.#limits.sync_max_s;
    if (!isLong) {
      try {
        return (await findFaces(this.file, { signal })).tracks;
      } catch (error) {
        if (error.code !== "too_long") throw error;
      }
    }
    const { id } = await submitJob({ kind: "faces", file: this.file }, { signal });
    signal.addEventListener("abort", () => deleteJob(id).catch(() => {}));
    const job = await follow(id, (now) => {
      if (now.status !== "running") return;
      at("faces-note").textContent = `Looking for faces… ${Math.round(100 * (now.progress ?? 0))} %`;
    }, { signal });
    deleteJob(id).catch(() => {});
    if (job.status === "succeeded") return job.result.tracks;
    throw Object.assign(new Error(job.error?.detail), { code: job.error?.code ?? "conflict", detail: job.error?.detail });
  }

  #notFound(error, isStopped) {
    at("faces-note").textContent = "";
    at("find-faces").hidden = false;
    if (isStopped || error.name === "AbortError") return;
    if (error.code === "unauthenticated") this.#onError(error, () => this.#look());
    else if (HOPELESS.has(error.code)) {
      this.#refuse(error);
    } else {
      const { title, advice } = explain(error.code);
      at("faces-note").textContent = `${title}. ${advice}`;
    }
  }
}

function facesNote(nFaces) {
  if (nFaces === 0) return "No face found: the voice is found by sound alone.";
  return nFaces === 1 ? "One face found." : `${nFaces} faces found. Choose the one to hear, or leave it to us.`;
}
