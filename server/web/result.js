// The result: both sounds in one player, drawn, with the picture running along.

import { contentPath, key, request } from "./api.js";
import { AbPlayer } from "./player.js";
import { SAMPLE_RATE_HZ, drawSound, loudest } from "./views.js";
import { clock } from "./words.js";

const STEP_S = 2;
const SHORT_S = 60; // shorter clips show tenths of a second
const PICTURE_SLACK_S = 0.08;
const DOWNLOADS = [
  ["audio", "Voice", "sound only"],
  ["video", "Video", "picture with the voice"],
  ["mask", "Mask", "picture of what was kept"],
  ["report", "Report", "how it was made"],
];

const at = (id) => document.getElementById(id);

async function decoded(context, id, variant) {
  const answer = await request(contentPath(id, variant));
  return context.decodeAudioData(await answer.arrayBuffer());
}

/** Where the picture is if the page was loaded again; a key cannot be sent along. */
function servedPicture(job) {
  const hasVideo = job.outputs?.some((output) => output.variant === "video");
  return hasVideo && !key() ? contentPath(job.id, "video") : null;
}

/** One result on the page, until `close()`. */
export class ResultView {
  #player;
  #views = {};
  #picture = at("picture");
  #frame = 0;
  #stop = new AbortController();

  /** Fetch both sounds of a finished job and show them; `file` is the clip, if the page still has it. */
  async show(job, file) {
    const context = new AudioContext({ sampleRate: SAMPLE_RATE_HZ });
    const names = ["input_audio", "audio"];
    const [before, after] = await Promise.all(names.map((name) => decoded(context, job.id, name)));
    if (this.#stop.signal.aborted) {
      context.close();
      return;
    }
    this.#player = new AbPlayer(context, before, after);
    this.#showPicture(file ? URL.createObjectURL(file) : servedPicture(job));
    this.#wire();
    await this.#draw(before, after);
    if (this.#stop.signal.aborted) return;
    this.#update();
    // For tests, and for the curious at the console.
    window.avsePlayer = this.#player;
  }

  close() {
    this.#stop.abort();
    cancelAnimationFrame(this.#frame);
    this.#player?.close();
    this.#clear();
    if (this.#picture.src) URL.revokeObjectURL(this.#picture.src);
    this.#picture.removeAttribute("src");
    this.#picture.hidden = true;
  }

  #clear() {
    for (const view of Object.values(this.#views)) view.destroy();
    this.#views = {};
  }

  async #draw(before, after) {
    const options = { maxPeak: loudest([before, after]), onSeek: (time) => this.#player.seek(time) };
    const draw = (name, buffer) => drawSound(at(`view-${name}`), buffer, options);
    const [first, second] = await Promise.all([draw("before", before), draw("after", after)]);
    this.#views = { before: first, after: second };
    if (this.#stop.signal.aborted) this.#clear();
  }

  #wire() {
    const { signal } = this.#stop;
    const on = (target, name, act) => target.addEventListener(name, act, { signal });
    on(this.#player, "state", () => this.#update());
    on(this.#player, "swap", () => this.#update());
    on(at("play"), "click", () => this.#toggle());
    for (const name of ["before", "after"]) {
      on(at(`hear-${name}`), "click", () => this.#player.hear(name));
      on(at(`view-${name}`), "pointerdown", () => this.#player.hear(name));
    }
    on(document.querySelector(".switch"), "keydown", (event) => this.#moveSwitch(event));
    on(at("seek"), "input", (event) => this.#player.seek((event.target.value / 1000) * this.#player.duration));
    on(document, "keydown", (event) => this.#shortcut(event));
    on(matchMedia("(prefers-color-scheme: dark)"), "change", () => {
      for (const view of Object.values(this.#views)) view.recolour();
    });
  }

  #toggle() {
    if (this.#player.isPlaying) this.#player.pause();
    else this.#player.play();
  }

  #moveSwitch(event) {
    if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
    event.stopPropagation();
    this.#player.swap();
    at(`hear-${this.#player.heard}`).focus();
  }

  #shortcut(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea, summary, a")) return;
    const isButton = event.target.closest("button") !== null;
    const move = { ArrowLeft: -STEP_S, ArrowRight: STEP_S }[event.key];
    if (event.key === " " && !isButton) this.#toggle();
    else if (event.key.toLowerCase() === "b") this.#player.swap();
    else if (move) this.#player.seek(this.#player.position + move);
    else return;
    event.preventDefault();
  }

  #showPicture(url) {
    if (!url) return;
    this.#picture.addEventListener("loadeddata", () => {
      this.#picture.hidden = this.#picture.videoWidth === 0;
    }, { once: true });
    this.#picture.src = url;
  }

  /** Bring everything in line with the player; again with each picture while it plays. */
  #update() {
    cancelAnimationFrame(this.#frame);
    const { position, duration, isPlaying, heard } = this.#player;
    at("play").classList.toggle("is-playing", isPlaying);
    at("play").setAttribute("aria-label", isPlaying ? "Pause" : "Play");
    for (const name of ["before", "after"]) {
      const isHeard = name === heard;
      at(`hear-${name}`).setAttribute("aria-checked", String(isHeard));
      at(`hear-${name}`).tabIndex = isHeard ? 0 : -1;
      at(`view-${name}`).classList.toggle("is-heard", isHeard);
      this.#views[name]?.moveTo(position);
    }
    at("seek").value = Math.round((1000 * position) / duration);
    const time = (value) => clock(value, duration < SHORT_S);
    at("seek").setAttribute("aria-valuetext", `${time(position)} of ${time(duration)}`);
    at("time").textContent = `${time(position)} / ${time(duration)}`;
    this.#followWithPicture(position, isPlaying);
    if (isPlaying) this.#frame = requestAnimationFrame(() => this.#update());
  }

  /** The picture is mute and follows the sound; it is only moved where it has slipped. */
  #followWithPicture(position, isPlaying) {
    const picture = this.#picture;
    if (picture.hidden || picture.seeking) return;
    const wanted = Math.min(position, picture.duration || position);
    const slack = isPlaying ? PICTURE_SLACK_S : 0.001;
    if (Math.abs(picture.currentTime - wanted) > slack) picture.currentTime = wanted;
    if (isPlaying && picture.paused && !picture.ended) picture.play().catch(() => {});
    if (!isPlaying && !picture.paused) picture.pause();
  }
}

/** Links to what the job made; with a key they are fetched, since a link cannot carry one. */
export function showDownloads(container, job, onError) {
  const have = new Map((job.outputs ?? []).map((output) => [output.variant, output]));
  const links = DOWNLOADS.filter(([variant]) => have.has(variant)).map(([variant, name, note]) => {
    const link = document.createElement("a");
    link.className = "download";
    link.href = contentPath(job.id, variant);
    link.download = "";
    link.dataset.variant = variant;
    const ending = have.get(variant).media_type?.split("/")[1]?.replace("x-", "").toUpperCase();
    const kind = { MPEG: "MP3", "X-MATROSKA": "MKV", MATROSKA: "MKV" }[ending] ?? ending ?? "";
    const words = Object.assign(document.createElement("span"), { textContent: name });
    const small = Object.assign(document.createElement("small"), { textContent: [kind, note].filter(Boolean).join(", ") });
    link.append(words, small);
    if (key()) link.addEventListener("click", (event) => fetchFile(event, link, onError));
    return link;
  });
  container.replaceChildren(...links);
}

async function fetchFile(event, link, onError) {
  event.preventDefault();
  try {
    const answer = await request(link.getAttribute("href"));
    const name = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") ?? "")?.[1];
    const url = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement("a"), { href: url, download: name ?? link.dataset.variant }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    onError(error);
  }
}
