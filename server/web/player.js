// Before and after through one clock: both sounds run at once, and a switch moves only gains.

const FADE_S = 0.012;
const LEAD_S = 0.06;

/**
 * Plays two sounds in step. Emits `state` when it starts or stops and `swap` when the other is heard.
 *
 * Both buffers are started at the same instant of one AudioContext, so nothing can drift, and
 * swapping is a short cross-fade of two gains, so there is no gap.
 */
export class AbPlayer extends EventTarget {
  #context;
  #buffers;
  #gains;
  #sources = [];
  #startedAt = 0;
  #offset = 0;
  #heard = "after";
  #isPlaying = false;
  #run = 0;

  constructor(context, before, after) {
    super();
    this.#context = context;
    this.#buffers = { before, after };
    this.#gains = { before: context.createGain(), after: context.createGain() };
    for (const [name, gain] of Object.entries(this.#gains)) {
      gain.gain.value = name === this.#heard ? 1 : 0;
      gain.connect(context.destination);
    }
  }

  get duration() {
    return Math.max(this.#buffers.before.duration, this.#buffers.after.duration);
  }

  get isPlaying() {
    return this.#isPlaying;
  }

  get heard() {
    return this.#heard;
  }

  /** Seconds from the start of the clip. */
  get position() {
    if (!this.#isPlaying) return this.#offset;
    const passed = Math.max(0, this.#context.currentTime - this.#startedAt);
    return Math.min(this.duration, this.#offset + passed);
  }

  async play() {
    if (this.#isPlaying) return;
    const run = ++this.#run;
    this.#isPlaying = true;
    if (this.#offset >= this.duration - 0.02) this.#offset = 0;
    if (this.#context.state === "suspended" && this.#context.resume) await this.#context.resume();
    if (run !== this.#run) return;
    this.#start();
    this.#tell("state");
  }

  pause() {
    if (!this.#isPlaying) return;
    this.#offset = this.position;
    this.#halt();
    this.#tell("state");
  }

  seek(time) {
    const target = Math.min(this.duration, Math.max(0, time));
    const wasPlaying = this.#isPlaying;
    if (wasPlaying) this.#halt();
    this.#offset = target;
    if (wasPlaying && target < this.duration) {
      this.#isPlaying = true;
      this.#start();
    }
    this.#tell("state");
  }

  /** Let `before` or `after` be heard; the other runs on in silence. */
  hear(name) {
    if (name === this.#heard) return;
    this.#heard = name;
    const now = this.#context.currentTime;
    for (const [each, gain] of Object.entries(this.#gains)) {
      gain.gain.cancelScheduledValues(now);
      gain.gain.setValueAtTime(gain.gain.value, now);
      gain.gain.linearRampToValueAtTime(each === name ? 1 : 0, now + FADE_S);
    }
    this.#tell("swap");
  }

  swap() {
    this.hear(this.#heard === "after" ? "before" : "after");
  }

  close() {
    this.#halt();
    for (const gain of Object.values(this.#gains)) gain.disconnect();
    this.#context.close?.();
  }

  #start() {
    this.#startedAt = this.#context.currentTime + LEAD_S;
    const run = ++this.#run;
    this.#sources = Object.entries(this.#buffers).map(([name, buffer]) => {
      const source = this.#context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.#gains[name]);
      source.start(this.#startedAt, Math.min(this.#offset, buffer.duration));
      return source;
    });
    const longest = this.#sources.reduce((a, b) => (b.buffer.duration > a.buffer.duration ? b : a));
    longest.onended = () => run === this.#run && this.#finish();
  }

  #halt() {
    this.#run += 1;
    this.#isPlaying = false;
    for (const source of this.#sources) {
      source.onended = null;
      source.stop();
      source.disconnect();
    }
    this.#sources = [];
  }

  #finish() {
    this.#halt();
    this.#offset = this.duration;
    this.#tell("state");
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }
}
