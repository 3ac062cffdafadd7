// The camera of the examples: a moving window over the Hubble Deep Field, and a summary of what became of each frame.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { PNG } from "pngjs";

export const WIDTH = 320;
export const HEIGHT = 240;
/** Frames until the window has swept the whole picture. */
export const SWEEP = 24;

/** The picture that frames are windows of. */
export class Sky {
  constructor() {
    const file = readFileSync(new URL("../hubble_deep_field.pgm", import.meta.url));
    const end = file.indexOf("\n");
    const [magic, width, height] = file.toString("latin1", 0, end).split(" ");
    if (magic !== "P5") throw new Error("hubble_deep_field.pgm is not a grey picture in the PGM format");
    this.pixels = file.subarray(end + 1);
    this.width = Number(width);
    this.height = Number(height);
  }

  /** Frame `number`: row after row, every other one backwards, as a scanning telescope would. */
  frame(number) {
    const [sweep, step] = [Math.floor(number / SWEEP), number % SWEEP];
    const [row, along] = [Math.floor(step / 6), step % 6];
    const column = row % 2 === 0 ? along : 5 - along;
    const x = Math.min(column * 136 + ((sweep * 37) % 136), this.width - WIDTH);
    const y = Math.min(row * 210 + ((sweep * 61) % 210), this.height - HEIGHT);
    const rows = Array.from({ length: HEIGHT }, (_, line) => {
      const start = (y + line) * this.width + x;
      return this.pixels.subarray(start, start + WIDTH);
    });
    return Buffer.concat(rows);
  }
}

/** One line for each frame: the same on every run, and the same as the example in Rust writes. */
export class Summary {
  text = "frame\tverdict\twhy\tbytes_in\tbytes_out\tpacket_sha256\n";
  kept = 0;
  verdicts = [];

  /** Adds a frame: with its packet when it was sent, else with why it was not. */
  add(number, packet, why) {
    const verdict = packet ? "kept" : "dropped";
    const digest = packet ? createHash("sha256").update(packet).digest("hex").slice(0, 16) : "-";
    const size = packet?.length ?? 0;
    this.kept += packet ? 1 : 0;
    this.verdicts.push(Boolean(packet));
    this.text += `${number}\t${verdict}\t${why}\t${WIDTH * HEIGHT}\t${size}\t${digest}\n`;
    console.log(`${number}`.padStart(5), verdict.padEnd(8), why.padEnd(14), packet ? ((WIDTH * HEIGHT) / size).toFixed(2) : "-");
  }

  /** Writes `summary.tsv` and `contact_sheet.png`. */
  write(out) {
    mkdirSync(out, { recursive: true });
    writeFileSync(path.join(out, "summary.tsv"), this.text);
    writeFileSync(path.join(out, "contact_sheet.png"), PNG.sync.write(this.sheet(), { colorType: 0, inputColorType: 0, inputHasAlpha: false }));
  }

  /** All frames at half their size, six in a row; those that were dropped are dark. */
  sheet() {
    const [sky, columns, wide, high] = [new Sky(), 6, WIDTH / 2, HEIGHT / 2];
    const sheet = new PNG({ width: columns * (wide + 4), height: Math.ceil(this.verdicts.length / columns) * (high + 4) });
    sheet.data = Buffer.alloc(sheet.width * sheet.height);
    this.verdicts.forEach((kept, number) => {
      const [frame, left, top] = [sky.frame(number), (number % columns) * (wide + 4), Math.floor(number / columns) * (high + 4)];
      for (let y = 0; y < high; y++) {
        for (let x = 0; x < wide; x++) {
          const light = frame[2 * y * WIDTH + 2 * x];
          sheet.data[(top + y) * sheet.width + left + x] = kept ? light : light >> 2;
        }
      }
    });
    return sheet;
  }
}
