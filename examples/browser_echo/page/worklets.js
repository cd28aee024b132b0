// Runs beside the page, on the audio thread: takes sound in pieces, and gives it out without gaps.

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 50));  // 20 ms
    this.filled = 0;
  }

  process([input]) {
    const samples = input[0];
    if (!samples) return true;
    for (const sample of samples) {
      this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === this.piece.length) {
        this.port.postMessage(this.piece.slice().buffer);
        this.filled = 0;
      }
    }
    return true;
  }
}

// A ring of sound at the device's rate, fed with pieces at the agent's. It begins to play once a
// little has come, so that what comes late is no gap; when it runs dry it waits for as much again.
class Speaker extends AudioWorkletProcessor {
  constructor({processorOptions}) {
    super();
    this.step = processorOptions.rate / sampleRate;
    this.ring = new Float32Array(processorOptions.rate * 2);
    this.read = 0;      // a place between two samples
    this.written = 0;
    this.ahead = processorOptions.rate * 0.08;
    this.isPlaying = false;
    this.port.onmessage = ({data}) => data === 'interrupt' ? this.drop() : this.take(new Int16Array(data));
  }

  drop() {
    this.read = this.written;
    this.isPlaying = false;
  }

  take(samples) {
    for (const sample of samples) this.ring[this.written++ % this.ring.length] = sample / 32768;
    const most = this.ring.length / 2;
    if (this.written - this.read > most) this.read = this.written - this.ahead;  // never far behind
    if (this.written - this.read >= this.ahead) this.isPlaying = true;
  }

  process(_, [output]) {
    const [channel, ...others] = output;
    for (let i = 0; i < channel.length; i++) {
      if (this.isPlaying && this.read + 1 >= this.written) this.isPlaying = false;
      if (!this.isPlaying) { channel[i] = 0; continue; }
      const place = Math.floor(this.read), part = this.read - place;
      const a = this.ring[place % this.ring.length], b = this.ring[(place + 1) % this.ring.length];
      channel[i] = a + (b - a) * part;
      this.read += this.step;
    }
    for (const other of others) other.set(channel);
    return true;
  }
}

registerProcessor('microphone', Microphone);
registerProcessor('speaker', Speaker);
