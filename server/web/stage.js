// The clip before the work: its picture, with a box on every face that was found.

const NEAR_S = 0.15; // a box stays so long before and after its first and last sight

/** Where a face is at a time, between the places the service told: `[x, y, width, height]`. */
export function boxAt(track, time) {
  const way = track.boxes?.length ? track.boxes : [[track.time ?? track.start, ...track.bbox]];
  if (time < way[0][0] - NEAR_S || time > way.at(-1)[0] + NEAR_S) return null;
  const after = way.findIndex(([at]) => at >= time);
  if (after <= 0) return (after === 0 ? way[0] : way.at(-1)).slice(1);
  const [from, to] = [way[after - 1], way[after]];
  const share = (time - from[0]) / (to[0] - from[0] || 1);
  return from.slice(1).map((value, index) => value + share * (to[index + 1] - value));
}

/** Draws the boxes of `show(tracks)` over a video; a click on one calls `onChoose(id)`. */
export class Stage {
  #video;
  #layer;
  #onChoose;
  #tracks = [];
  #boxes = [];
  #frame = 0;

  constructor(video, layer, onChoose) {
    [this.#video, this.#layer, this.#onChoose] = [video, layer, onChoose];
    for (const name of ["loadeddata", "play", "pause", "seeked", "timeupdate"]) {
      video.addEventListener(name, () => this.#update());
    }
  }

  /** Show the faces of a clip; none takes all boxes away. */
  show(tracks = []) {
    this.#tracks = tracks;
    this.#boxes = tracks.map((track, index) => {
      const box = Object.assign(document.createElement("span"), { className: "stage-box" });
      box.append(Object.assign(document.createElement("span"), { textContent: String(index + 1) }));
      box.addEventListener("click", () => this.#onChoose(track.id));
      return box;
    });
    this.#layer.replaceChildren(...this.#boxes);
    if (tracks.length && !tracks.some((track) => boxAt(track, this.#video.currentTime))) this.#moveTo(tracks[0]);
    this.#update();
  }

  /** Mark a face; a clip that stands still is moved to where it can be seen. */
  choose(id) {
    this.#tracks.forEach((track, index) => {
      const isChosen = String(track.id) === id;
      this.#boxes[index].classList.toggle("is-chosen", isChosen);
      if (isChosen && !boxAt(track, this.#video.currentTime)) this.#moveTo(track);
    });
  }

  #moveTo(track) {
    if (this.#video.paused && this.#video.readyState > 0) this.#video.currentTime = track.time ?? track.start;
  }

  #update() {
    cancelAnimationFrame(this.#frame);
    const { videoWidth, videoHeight, currentTime, paused } = this.#video;
    this.#tracks.forEach((track, index) => {
      const place = videoWidth ? boxAt(track, currentTime) : null;
      const box = this.#boxes[index];
      box.hidden = place === null;
      if (place === null) return;
      const [x, y, width, height] = place;
      box.style.left = `${(100 * x) / videoWidth}%`;
      box.style.top = `${(100 * y) / videoHeight}%`;
      box.style.width = `${(100 * width) / videoWidth}%`;
      box.style.height = `${(100 * height) / videoHeight}%`;
    });
    if (!paused) this.#frame = requestAnimationFrame(() => this.#update());
  }
}
