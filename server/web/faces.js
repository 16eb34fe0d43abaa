// Who is in the picture: one choice for each face, its box drawn on its thumbnail.

const MARGIN = 0.35; // of the longer side, on each side of the box: as the server cuts thumbnails

function choice(value, isChecked) {
  const label = document.createElement("label");
  label.className = "face";
  const input = Object.assign(document.createElement("input"), {
    type: "radio", name: "face", value, checked: isChecked,
  });
  const body = Object.assign(document.createElement("span"), { className: "face-body" });
  label.append(input, body);
  return { label, body };
}

function text(className, words) {
  return Object.assign(document.createElement("span"), { className, textContent: words });
}

/** The square thumbnail with the face's box in its middle. */
function picture(track) {
  const frame = Object.assign(document.createElement("span"), { className: "face-picture" });
  if (!track.thumbnail) return frame;
  frame.append(Object.assign(new Image(), { src: track.thumbnail, alt: "", decoding: "async" }));
  const [, , width, height] = track.bbox;
  const side = (1 + 2 * MARGIN) * Math.max(width, height);
  const box = Object.assign(document.createElement("span"), { className: "face-box" });
  box.style.width = `${(100 * width) / side}%`;
  box.style.height = `${(100 * height) / side}%`;
  frame.append(box);
  return frame;
}

function automatic() {
  const { label, body } = choice("auto", true);
  const frame = Object.assign(document.createElement("span"), { className: "face-picture face-auto" });
  frame.innerHTML = '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M12 3l1.9 5.1L19 10l-5.1 1.9L12 17l-1.9-5.1L5 10l5.1-1.9zM18.5 15l.9 2.1 2.1.9-2.1.9-.9 2.1-.9-2.1-2.1-.9 2.1-.9z"/></svg>';
  body.append(frame, text("face-name", "Automatic"), text("muted fine", "whose lips fit the sound"));
  return label;
}

function person(track, number, isLikely) {
  const { label, body } = choice(String(track.id), false);
  const when = `${track.start.toFixed(1)} to ${track.end.toFixed(1)} s`;
  body.append(picture(track), text("face-name", `Face ${number}`), text("muted fine", when));
  if (isLikely) body.append(text("badge", "speaking"));
  return label;
}

/** The face whose lips fit the sound best, if any was compared. */
function likely(tracks) {
  const scored = tracks.filter((track) => track.speaking_score != null);
  if (!scored.length) return null;
  const best = scored.reduce((a, b) => (b.speaking_score > a.speaking_score ? b : a));
  return best.speaking_score > 0 ? best.id : null;
}

/** Fill `container` with the choices; without tracks, only the automatic one. */
export function showFaces(container, tracks = []) {
  const id = likely(tracks);
  container.replaceChildren(automatic(), ...tracks.map((track, index) => person(track, index + 1, track.id === id)));
}

/** Check the choice of a face. */
export function chooseFace(container, value) {
  const input = [...container.querySelectorAll("input")].find((each) => each.value === value);
  if (input) input.checked = true;
}

/** What was chosen, as the service takes it. */
export function chosenFace(container) {
  return container.querySelector("input:checked")?.value ?? "auto";
}
