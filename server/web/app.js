// The page: choose a clip, choose a face, wait, listen. One section is shown at a time.

import { cancelJob, deleteJob, findFaces, json, key, request, setKey, submitJob } from "./api.js";
import { chosenFace, showFaces } from "./faces.js";
import { follow } from "./follow.js";
import { ResultView, showDownloads } from "./result.js";
import { STAGES, explain, fileSize, howItWasMade, stageLine } from "./words.js";

const SAMPLE = "/web/samples/talking.mp4";
const LOOK_UNASKED_BYTES = 40e6; // larger clips are searched for faces only when asked to
const UPLOAD_SHARE = 15; // of the bar, percent
const STEPS = ["choose", "prepare", "working", "result"];

const at = (id) => document.getElementById(id);
const state = { file: null, job: null, result: null, work: null, looking: null, retry: null };

// --- what is shown ---------------------------------------------------------------------------

function show(step, focus) {
  for (const each of STEPS) at(each).hidden = each !== step;
  at("intro").hidden = step !== "choose";
  at("error").hidden = true;
  at("key-form").hidden = true;
  if (focus) at(focus).focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

function say(words) {
  at("status").textContent = words;
}

/** Show an error in words; `retry` is what "Try again" does. */
function showError(error, retry) {
  if (error.name === "AbortError") return;
  if (error.code === "unauthenticated") {
    askForKey(retry);
    return;
  }
  const { title, advice, again } = explain(error.code);
  at("error-title").textContent = title;
  at("error-detail").textContent = advice;
  const fine = [error.detail && error.detail !== error.code ? error.detail : "", error.requestId && `request ${error.requestId}`];
  at("error-fine").textContent = fine.filter(Boolean).join(" · ");
  at("error-fine").hidden = !at("error-fine").textContent;
  state.retry = retry ?? null;
  at("error-retry").hidden = !(again && retry);
  at("error-restart").hidden = !at("prepare").hidden || !at("choose").hidden;
  at("error").hidden = false;
  at("error").focus({ preventScroll: true });
  at("error").scrollIntoView({ block: "nearest" });
}

function askForKey(retry) {
  const wasRefused = key() !== "";
  setKey("");
  showKeyState();
  state.retry = retry ?? null;
  at("key-form").hidden = false;
  at("key").value = "";
  at("key").focus();
  say(wasRefused ? "This key was not accepted." : "This server asks for a key.");
  at("key-form").querySelector("p").textContent = wasRefused
    ? "This key was not accepted. Check it and try again."
    : "Whoever runs it can give you one. It is kept in this tab only.";
}

function showKeyState() {
  at("forget-key").hidden = key() === "";
}

// --- choose ----------------------------------------------------------------------------------

function choose(file) {
  if (!file) return;
  if (file.size === 0) {
    showError({ code: "undecodable", detail: `${file.name} is empty` });
    return;
  }
  state.file = file;
  at("clip-name").textContent = file.name;
  at("clip-size").textContent = fileSize(file.size);
  preview(file);
  showFaces(at("faces"));
  show("prepare", "clip-name");
  const isSound = file.type.startsWith("audio/");
  at("who").hidden = isSound;
  if (isSound) return;
  at("find-faces").hidden = file.size <= LOOK_UNASKED_BYTES;
  at("faces-note").textContent = "";
  if (file.size <= LOOK_UNASKED_BYTES) lookForFaces();
}

function preview(file) {
  const video = at("preview");
  if (video.src) URL.revokeObjectURL(video.src);
  video.hidden = true;
  video.onloadeddata = () => { video.hidden = video.videoWidth === 0; };
  video.src = URL.createObjectURL(file);
}

async function lookForFaces() {
  state.looking?.abort();
  const looking = new AbortController();
  state.looking = looking;
  at("find-faces").hidden = true;
  at("faces-note").textContent = "Looking for faces…";
  at("who").classList.add("is-busy");
  try {
    const { tracks } = await findFaces(state.file, { signal: looking.signal });
    showFaces(at("faces"), tracks);
    at("faces-note").textContent = facesNote(tracks.length);
    say(facesNote(tracks.length));
  } catch (error) {
    if (looking.signal.aborted) return;
    if (error.code === "unauthenticated") askForKey(lookForFaces);
    at("faces-note").textContent = noFacesNote(error);
    at("find-faces").hidden = !explain(error.code).again;
  } finally {
    if (state.looking === looking) at("who").classList.remove("is-busy");
  }
}

function facesNote(nFaces) {
  if (nFaces === 0) return "No face found: the voice is found by sound alone.";
  return nFaces === 1 ? "One face found." : `${nFaces} faces found. Choose the one to hear, or leave it to us.`;
}

function noFacesNote(error) {
  if (error.code === "unauthenticated") return "";
  if (["too_long", "payload_too_large"].includes(error.code)) {
    return "This clip is too long to show its faces first. Automatic still finds who speaks.";
  }
  const { title, advice } = explain(error.code);
  return `${title}. ${advice}`;
}

async function chooseSample() {
  try {
    const content = await (await request(SAMPLE)).blob();
    choose(new File([content], "sample.mp4", { type: "video/mp4" }));
  } catch (error) {
    showError(error, chooseSample);
  }
}

// --- work ------------------------------------------------------------------------------------

function fields() {
  return {
    kind: "enhancement",
    face: at("who").hidden ? "auto" : chosenFace(at("faces")),
    mode: at("mode").value,
    strength: String(at("strength").value / 100),
    output: "wav",
    file: state.file,
  };
}

async function start() {
  state.looking?.abort();
  at("preview").pause();
  const work = new AbortController();
  state.work = work;
  state.job = null;
  showStages();
  show("working", "working-title");
  progress("upload", 0, "Uploading");
  const options = { signal: work.signal, onProgress: (share) => showUpload(share) };
  try {
    const job = await submitJob(fields(), options);
    state.job = job;
    await finish(await follow(job.id, showJob, { signal: work.signal }));
  } catch (error) {
    if (state.work !== work) return;
    show("prepare");
    showError(error, start);
  }
}

async function finish(job) {
  if (job.status === "canceled") {
    show("prepare", "start");
    say("Cancelled.");
    return;
  }
  if (job.status === "failed") {
    throw Object.assign(new Error(job.error?.detail), { code: job.error?.code, detail: job.error?.detail });
  }
  progress("encode", 100, "Fetching the result");
  await showResult(job);
}

function showUpload(share) {
  progress("upload", share * UPLOAD_SHARE, share < 1 ? `Uploading, ${Math.round(100 * share)} %` : "Uploaded");
}

function showJob(job) {
  if (job.status === "queued") {
    const before = job.queue_position ?? 0;
    const place = before > 0 ? `${before} ${before === 1 ? "clip is" : "clips are"} before yours.` : "Yours is next.";
    progress("queued", UPLOAD_SHARE, "Waiting for a free place", [place, inWords(job.eta)].join(" "));
  } else if (job.status === "running") {
    const stage = stageLine(job.stage ?? "decode");
    const title = STAGES.find(([name]) => name === stage)?.[2] ?? "Working";
    progress(stage, UPLOAD_SHARE + (100 - UPLOAD_SHARE) * (job.progress ?? 0), title, inWords(job.eta));
  }
}

function inWords(eta) {
  if (eta == null) return "";
  return eta < 90 ? `About ${Math.max(1, Math.round(eta))} s to go.` : `About ${Math.round(eta / 60)} min to go.`;
}

function showStages() {
  at("stages").replaceChildren(...STAGES.map(([name, words]) => {
    const line = Object.assign(document.createElement("li"), { textContent: words });
    line.dataset.stage = name;
    return line;
  }));
}

let lastTitle = "";

function progress(stage, percent, title, note = "") {
  at("bar").value = Math.max(stage === "upload" ? 0 : at("bar").value, percent);
  at("working-title").textContent = title;
  at("working-note").textContent = note || "\u00a0";
  const now = stage === "queued" ? 0.5 : STAGES.findIndex(([name]) => name === stage);
  for (const [index, line] of [...at("stages").children].entries()) {
    line.className = index < now ? "is-done" : index === now ? "is-now" : "";
    if (index === now) line.setAttribute("aria-current", "step");
    else line.removeAttribute("aria-current");
  }
  const spoken = title.replace(/, \d+ %/, "");
  if (spoken !== lastTitle) say(spoken);
  lastTitle = spoken;
}

async function cancel() {
  const { work, job } = state;
  if (!job) {
    state.work = null;
    work?.abort();
    show("prepare", "start");
    return;
  }
  at("cancel").disabled = true;
  try {
    await cancelJob(job.id);
  } catch (error) {
    if (error.code !== "conflict") showError(error);
  } finally {
    at("cancel").disabled = false;
  }
}

// --- result ----------------------------------------------------------------------------------

async function showResult(job) {
  const report = job.result?.report ?? null;
  at("result-how").textContent = howItWasMade(report);
  const warnings = new Set([...(job.warnings ?? []), ...(report?.warnings ?? [])]);
  at("result-warnings").replaceChildren(...[...warnings].map((words) => (
    Object.assign(document.createElement("li"), { textContent: `${words[0].toUpperCase()}${words.slice(1)}` })
  )));
  showDownloads(at("downloads"), job, showError);
  state.result?.close();
  state.result = new ResultView();
  show("result", "result-title");
  at("player").hidden = false;
  say("The voice is ready.");
  try {
    await state.result.show(job, state.file);
  } catch (error) {
    at("player").hidden = true;
    showError(error.code ? error : { code: "unplayable" });
  }
}

async function deleteNow() {
  try {
    await deleteJob(state.job.id);
  } catch (error) {
    if (error.code !== "not_found") {
      showError(error, deleteNow);
      return;
    }
  }
  restart();
  say("The clip and its results are deleted.");
}

function restart() {
  state.looking?.abort();
  state.result?.close();
  Object.assign(state, { file: null, job: null, result: null, work: null });
  at("preview").pause();
  at("file").value = "";
  show("choose", "main");
}

// --- wiring ----------------------------------------------------------------------------------

function wireDrop() {
  const drop = at("drop");
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      if (!isFile(event)) return;
      event.preventDefault();
      drop.classList.add("is-over");
    });
  }
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && drop.classList.remove("is-over"));
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    drop.classList.remove("is-over");
    if (!at("choose").hidden || !at("prepare").hidden) choose(event.dataTransfer.files[0]);
  });
}

function wire() {
  at("file").addEventListener("change", (event) => choose(event.target.files[0]));
  at("sample").addEventListener("click", chooseSample);
  at("find-faces").addEventListener("click", lookForFaces);
  at("start").addEventListener("click", start);
  at("cancel").addEventListener("click", cancel);
  at("delete").addEventListener("click", deleteNow);
  for (const id of ["other", "again", "error-restart"]) at(id).addEventListener("click", restart);
  at("error-retry").addEventListener("click", () => {
    at("error").hidden = true;
    state.retry?.();
  });
  at("strength").addEventListener("input", () => {
    at("strength-value").textContent = `${at("strength").value} %`;
  });
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(at("key").value.trim());
    at("key-form").hidden = true;
    showKeyState();
    state.retry?.();
  });
  at("forget-key").addEventListener("click", () => {
    setKey("");
    showKeyState();
    say("The key is forgotten.");
  });
  wireDrop();
}

/** The server's own limits, where it says them; the page works without. */
async function showLimits() {
  try {
    const { limits } = await json("/v1/metadata");
    const [bytes, spanS] = [limits.job_max_bytes, limits.job_max_s];
    if (bytes && spanS) {
      at("limits").textContent = `Video or sound, up to ${fileSize(bytes).replace(".00", "")} and ${Math.round(spanS / 60)} minutes`;
    }
  } catch {
    // What the page says already is the default.
  }
}

wire();
showKeyState();
showLimits();
