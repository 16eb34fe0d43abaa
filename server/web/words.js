// What the service says in codes, in words a person understands.

const SENTENCES = {
  invalid_request: ["The server did not understand the request", "One of the choices was not accepted."],
  unauthenticated: ["A key is needed", "This server only works for people with a valid API key."],
  forbidden: ["Your key does not allow this", "Ask whoever runs this server for a key that does."],
  not_found: ["This is not there any more", "The result may have been deleted. Send the clip again."],
  conflict: ["This was stopped", "The job was cancelled or has already ended."],
  idempotency_mismatch: ["The same request was sent with another clip", "Please send the clip again."],
  gone: ["The result was kept for a while and is gone now", "Send the clip again to get a new one."],
  payload_too_large: ["The clip is too large", "This server does not take files of that size. A shorter or more compressed clip will do."],
  unsupported_container: ["This kind of file is not accepted", "Save the clip as MP4, MOV, WebM, MKV, WAV or MP3 and try again."],
  unsupported_codec: ["The sound or picture is stored in a way we cannot read", "Save the clip as MP4 (H.264 and AAC) and try again."],
  undecodable: ["The file cannot be read", "It is empty, damaged or not a media file. Does it play on your own device?"],
  no_audio: ["The clip has no sound", "There is a picture but no sound track, so there is no voice to clean."],
  too_short: ["The clip is too short", "A fraction of a second is not enough to tell a voice from noise."],
  too_long: ["The clip is too long", "Cut it into shorter pieces and send them one by one."],
  resolution_limit: ["The picture is too large", "Scale the video down to 4K or less and try again."],
  frame_rate_limit: ["There are too many pictures a second", "Save the video with 120 pictures a second or fewer."],
  too_many_streams: ["The file has too many tracks", "Keep one picture and one sound track and try again."],
  face_not_found: ["No such face in the picture", "Choose another face, or let us go by sound alone under Options."],
  model_not_found: ["The model is not installed here", "Ask whoever runs this server."],
  head_not_configured: ["This is not installed here", "Ask whoever runs this server."],
  rate_limited: ["You have many clips waiting already", "Let one of them finish, then try again."],
  queue_full: ["Too many people are waiting right now", "Your clip is fine. Try again in a moment."],
  model_loading: ["The service is still starting", "Try again in a few seconds."],
  draining: ["The service is about to restart", "Try again in half a minute."],
  decode_timeout: ["Reading the clip took too long", "Something in the file is unusual. Save it as MP4 and try again."],
  sync_timeout: ["It was not finished in time", "The server is busy. Try again in a moment."],
  worker_lost: ["The work was interrupted", "Something on the server stopped halfway. Your clip is fine; try again."],
  insufficient_storage: ["The server has no room left", "Try again later; old clips are deleted by and by."],
  internal: ["Something went wrong on the server", "This is not your clip's fault. Try again; if it stays, tell whoever runs this server."],
  offline: ["The server cannot be reached", "Check your connection and try again. Nothing was lost on your side."],
  unplayable: ["The result cannot be played here", "Your browser could not read the sound. The downloads below still work."],
};

const MAY_WORK_AGAIN = new Set([
  "rate_limited", "queue_full", "model_loading", "draining", "sync_timeout", "worker_lost",
  "insufficient_storage", "internal", "offline",
]);

/** Title, advice and whether trying again makes sense, for one code. */
export function explain(code) {
  const [title, advice] = SENTENCES[code] ?? SENTENCES.internal;
  return { title, advice, again: MAY_WORK_AGAIN.has(code) };
}

/** The stages of a job, in order: the service's name, the line in the list, the title meanwhile. */
export const STAGES = [
  ["upload", "Upload the clip", "Uploading"],
  ["decode", "Read sound and picture", "Reading sound and picture"],
  ["track", "Follow the faces", "Following the faces"],
  ["infer", "Separate the voice", "Separating the voice"],
  ["encode", "Write the result", "Writing the result"],
];

/** The line of the list that a stage of the service belongs to. */
export function stageLine(stage) {
  return { probe: "decode", mux: "encode" }[stage] ?? stage;
}

const REASONS = {
  asked: "by sound alone, as you asked",
  no_video: "by sound alone, because the clip has no picture",
  no_face: "by sound alone, because no face was found",
  face_too_small: "by sound alone, because the face is too small to read its lips",
  face_lost: "by lips and sound where the mouth could be seen, by sound alone elsewhere",
  low_fps: "by sound alone, because there are too few pictures a second to read lips",
};

/** One sentence on how a result came about, from its report. */
export function howItWasMade(report) {
  if (!report) return "";
  const seen = `mouth seen for ${seconds(report.face_s)} of ${seconds(report.duration_s)}`;
  const lips = report.path === "audio_only" ? "" : ` (${seen})`;
  const way = report.path === "av" ? "by lips and sound" : REASONS[report.reason] ?? "by sound alone";
  return `Found ${way}${lips}.`;
}

export function seconds(value) {
  return `${(value ?? 0).toFixed(1)} s`;
}

/** Minutes and seconds, as players show them. */
export function clock(value, withTenths = false) {
  const tenths = Math.max(0, Math.floor(10 * value + 1e-6));
  const rest = Math.floor(tenths / 10) % 60;
  const text = `${Math.floor(tenths / 600)}:${String(rest).padStart(2, "0")}`;
  return withTenths ? `${text}.${tenths % 10}` : text;
}

/** A length of time as people say it. */
export function minutes(seconds) {
  return seconds < 100 ? `${Math.round(seconds)} seconds` : `${Math.round(seconds / 60)} minutes`;
}

/** A size in the unit people read on their own device. */
export function fileSize(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  const [value, unit] = bytes < 1e9 ? [bytes / 1e6, "MB"] : [bytes / 1e9, "GB"];
  return `${Number(value.toFixed(unit === "MB" ? 1 : 2))} ${unit}`;
}
