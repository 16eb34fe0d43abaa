// The page: choose a clip, choose a face, wait, listen. One section is shown at a time.

import { cancelJob, deleteJob, key, readJob, request, setKey, submitJob } from "./api.js";
import { follow } from "./follow.js";
import { Prepare } from "./prepare.js";
import { ResultView, showDownloads } from "./result.js";
import { STAGES, explain, howItWasMade, stageLine } from "./words.js";

const LAST_JOB = "avse-job"; // in the session storage: a page that is loaded again goes on with it
const UPLOAD_SHARE = 15; // of the bar, percent
const STEPS = ["choose", "prepare", "working", "result"];

const at = (id) => document.getElementById(id);
const state = { job: null, result: null, work: null, retry: null };
const prepare = new Prepare(showError, refuse);

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
  at("key").setAttribute("aria-invalid", String(wasRefused));
  at("key-note").classList.toggle("is-bad", wasRefused);
  at("key-note").textContent = wasRefused
    ? "This key was not accepted. Check it and try again."
    : "Whoever runs it can give you one. It is kept in this tab only.";
}

function showKeyState() {
  at("forget-key").hidden = key() === "";
}

// --- choose ----------------------------------------------------------------------------------

function choose(file) {
  if (!file) return;
  const fault = prepare.fault(file);
  if (fault) {
    showError(fault);
    return;
  }
  if (!at("result").hidden) restart();
  show("prepare", "clip-name");
  prepare.open(file);
}

function refuse(error) {
  restart();
  showError(error);
}

async function chooseSample(path) {
  try {
    const content = await (await request(path)).blob();
    choose(new File([content], path.split("/").at(-1), { type: "video/mp4" }));
  } catch (error) {
    showError(error, () => chooseSample(path));
  }
}

// --- work ------------------------------------------------------------------------------------

async function start() {
  prepare.rest();
  await work(async (signal) => {
    const options = { signal, onProgress: (share) => showUpload(share) };
    return submitJob(prepare.fields(), options);
  });
}

/** Follow the job that `begin(signal)` gives to its end and show what came of it. */
async function work(begin) {
  const now = new AbortController();
  Object.assign(state, { work: now, job: null });
  showStages();
  show("working", "working-title");
  progress("upload", 0, "Uploading");
  try {
    state.job = await begin(now.signal);
    remember(state.job.id);
    await finish(await follow(state.job.id, showJob, { signal: now.signal }));
  } catch (error) {
    if (state.work !== now) return;
    remember("");
    show(prepare.file ? "prepare" : "choose");
    showError(error, prepare.file ? start : undefined);
  }
}

/** A page that is loaded again, or that a phone had put to sleep, goes on with its job. */
async function resume() {
  const id = sessionStorage.getItem(LAST_JOB);
  const isReload = performance.getEntriesByType("navigation")[0]?.type !== "navigate" || document.wasDiscarded;
  remember("");
  if (!id || !isReload) return;
  try {
    const job = await readJob(id);
    const isOfUse = ["queued", "running", "succeeded"].includes(job.status);
    if (isOfUse && !at("choose").hidden) await work(async () => job);
  } catch {
    // It is over and gone: the page starts afresh.
  }
}

function remember(id) {
  if (id) sessionStorage.setItem(LAST_JOB, id);
  else sessionStorage.removeItem(LAST_JOB);
}

async function finish(job) {
  if (job.status === "canceled") {
    remember("");
    if (prepare.file) show("prepare", "start");
    else restart();
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
    await state.result.show(job, prepare.file);
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
  state.result?.close();
  Object.assign(state, { job: null, result: null, work: null });
  prepare.close();
  remember("");
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
    if (at("working").hidden) choose(event.dataTransfer.files[0]);
  });
}

function wire() {
  at("file").addEventListener("change", (event) => choose(event.target.files[0]));
  for (const sample of document.querySelectorAll("[data-sample]")) {
    sample.addEventListener("click", () => chooseSample(sample.dataset.sample));
  }
  at("start").addEventListener("click", start);
  at("cancel").addEventListener("click", cancel);
  at("delete").addEventListener("click", deleteNow);
  for (const id of ["other", "again", "error-restart"]) at(id).addEventListener("click", restart);
  at("error-retry").addEventListener("click", () => {
    at("error").hidden = true;
    state.retry?.();
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

wire();
showKeyState();
prepare.askLimits();
resume();
