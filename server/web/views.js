// Waveform and spectrogram of one sound, drawn by wavesurfer.js; playing is none of its business.

import WaveSurfer from "./vendor/wavesurfer/wavesurfer.esm.js";
import Spectrogram from "./vendor/wavesurfer/spectrogram.esm.js";

export const SAMPLE_RATE_HZ = 16000;
const WAVE_PX = 72;
const SPECTRUM_PX = 132;
const ANCHORS = [[9, 16, 26], [13, 44, 62], [16, 94, 99], [38, 158, 128], [150, 206, 128], [250, 240, 178]];

/** 256 colours from night over the accent to pale yellow. */
function colourMap() {
  return Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (ANCHORS.length - 1);
    const low = Math.min(Math.floor(place), ANCHORS.length - 2);
    const mix = (channel) => {
      const [from, to] = [ANCHORS[low][channel], ANCHORS[low + 1][channel]];
      return (from + (to - from) * (place - low)) / 255;
    };
    return [mix(0), mix(1), mix(2), 1];
  });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Loudest sample of all sounds, so that before and after are drawn on one scale. */
export function loudest(buffers) {
  let peak = 1e-4;
  for (const buffer of buffers) {
    for (const value of buffer.getChannelData(0)) if (Math.abs(value) > peak) peak = Math.abs(value);
  }
  return peak;
}

/**
 * Draw a sound into a figure.
 *
 * Returns `{ moveTo(seconds), destroy() }`; `onSeek` gets the seconds that were clicked.
 */
export async function drawSound(figure, buffer, { maxPeak, onSeek }) {
  const spectrogram = Spectrogram.create({
    container: figure.querySelector(".spectrum"),
    height: SPECTRUM_PX,
    fftSamples: 512,
    labels: false,
    scale: "mel",
    frequencyMin: 0,
    frequencyMax: SAMPLE_RATE_HZ / 2,
    gainDB: 8,
    rangeDB: 72,
    colorMap: colourMap(),
  });
  const surfer = WaveSurfer.create({
    container: figure.querySelector(".wave"),
    height: WAVE_PX,
    sampleRate: SAMPLE_RATE_HZ,
    waveColor: colour("--wave"),
    progressColor: colour("--accent"),
    cursorColor: colour("--ink"),
    cursorWidth: 1,
    barWidth: 2,
    barGap: 1,
    barRadius: 2,
    maxPeak,
    normalize: true,
    cspNonce: document.getElementById("style").nonce,
    plugins: [spectrogram],
  });
  surfer.on("interaction", onSeek);
  await surfer.load("", [buffer.getChannelData(0)], buffer.duration);
  return {
    moveTo: (time) => surfer.setTime(Math.min(time, buffer.duration)),
    recolour: () => surfer.setOptions({
      waveColor: colour("--wave"), progressColor: colour("--accent"), cursorColor: colour("--ink"),
    }),
    destroy: () => surfer.destroy(),
  };
}
