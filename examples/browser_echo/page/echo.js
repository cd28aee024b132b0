// The page's side of the agent's WebSocket: microphone in, loudspeaker out, and what it looks like.

const $ = (id) => document.getElementById(id);
const agent = new URLSearchParams(location.search).get('agent')
  ?? `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.hostname || '127.0.0.1'}:8080/ws`;
const AGENT_RATE = 24000;

let call = null;  // what exists only while one talks

function say(text, isBad = false) {
  $('status').textContent = text;
  $('status').classList.toggle('bad', isBad);
}

function why(error) {
  switch (error.name) {
    case 'NotAllowedError': return 'The browser was not allowed to use the microphone.';
    case 'NotFoundError': return 'There is no microphone.';
    case 'NotReadableError': return 'Another program has the microphone.';
    default: return error.message;
  }
}

function connect(rate) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${agent}${agent.includes('?') ? '&' : '?'}name=Browser`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      socket.send(JSON.stringify({type: 'hello', sample_rate: rate, channels: 1}));
      resolve(socket);
    };
    socket.onerror = () => reject(new Error(`No agent answers at ${agent}. Is it running?`));
  });
}

async function start() {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorklet) {
    throw new Error('A browser lets a page use the microphone only over https, or from this computer.');
  }
  const audio = new AudioContext({latencyHint: 'interactive'});
  let stream = null;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: {echoCancellation: true, noiseSuppression: true, autoGainControl: true},
    });
    await audio.audioWorklet.addModule('worklets.js');
    await audio.resume();  // phones start it asleep
    return wire(audio, stream, await connect(audio.sampleRate));
  } catch (error) {
    stream?.getTracks().forEach((track) => track.stop());
    await audio.close();
    throw error;
  }
}

function wire(audio, stream, socket) {
  const source = audio.createMediaStreamSource(stream);
  const microphone = new AudioWorkletNode(audio, 'microphone', {numberOfOutputs: 0});
  const speaker = new AudioWorkletNode(audio, 'speaker', {
    numberOfInputs: 0, outputChannelCount: [2], processorOptions: {rate: AGENT_RATE},
  });
  const ears = {you: audio.createAnalyser(), back: audio.createAnalyser()};
  for (const ear of Object.values(ears)) ear.fftSize = 2048;
  source.connect(ears.you);
  source.connect(microphone);
  speaker.connect(ears.back);
  speaker.connect(audio.destination);

  const made = {audio, stream, socket, ears, agent: 'the agent', received: 0, isMuted: false};
  microphone.port.onmessage = ({data}) => {
    const isSlow = socket.bufferedAmount > 1 << 17;  // over a second: better late than later
    if (socket.readyState === WebSocket.OPEN && !made.isMuted && !isSlow) socket.send(data);
  };
  socket.onmessage = ({data}) => {
    if (typeof data !== 'string') {
      made.received += data.byteLength;
      speaker.port.postMessage(data, [data]);
      return;
    }
    const text = JSON.parse(data);
    if (text.type === 'interrupt') speaker.port.postMessage('interrupt');
    if (text.type === 'welcome') say(`You talk to ${made.agent = text.name}.`);
  };
  socket.onclose = ({code, reason}) => {
    if (call === made) hangUp(code === 1000 && !reason ? 'The agent is gone.' : `The agent is gone: ${reason || `code ${code}`}.`, true);
  };
  return made;
}

function hangUp(text, isBad = false) {
  const {audio, stream, socket} = call;
  call = null;
  socket.close(1000);
  stream.getTracks().forEach((track) => track.stop());
  audio.close();
  $('talk').textContent = 'Start talking';
  $('mute').disabled = true;
  $('mute').setAttribute('aria-pressed', 'false');
  $('mute').textContent = 'Mute';
  say(text, isBad);
}

$('talk').onclick = async () => {
  if (call) return hangUp('Speak, and hear yourself come back.');
  $('talk').disabled = true;
  say('One moment …');
  try {
    call = await start();
    $('talk').textContent = 'Hang up';
    $('mute').disabled = false;
  } catch (error) {
    say(why(error), true);
  } finally {
    $('talk').disabled = false;
  }
};

$('mute').onclick = () => {
  call.isMuted = !call.isMuted;
  call.stream.getAudioTracks().forEach((track) => { track.enabled = !call.isMuted; });
  if (call.isMuted) call.socket.send(JSON.stringify({type: 'mute'}));
  $('mute').setAttribute('aria-pressed', String(call.isMuted));
  $('mute').textContent = call.isMuted ? 'Unmute' : 'Mute';
};

// What is heard, as numbers and as pictures.

const samples = new Float32Array(2048);
const shown = {you: 0, back: 0};
const past = [];  // the last seconds, one pair of levels for each frame
const PAST = 240;

function decibels(ear) {
  ear.getFloatTimeDomainData(samples);
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return 10 * Math.log10(sum / samples.length + 1e-12);
}

function measure(who) {
  const db = call ? decibels(call.ears[who]) : -120;
  const level = Math.max(0, Math.min(1, (db + 60) / 60));  // -60 dB is nothing, 0 dB all
  shown[who] = level > shown[who] ? level : shown[who] * 0.9 + level * 0.1;
  $(who).firstElementChild.style.transform = `scaleX(${shown[who].toFixed(3)})`;
  $(who).setAttribute('aria-valuenow', String(Math.round(shown[who] * 100)));
  $(`${who}-db`).textContent = shown[who] > 0.01 ? `${(shown[who] * 60 - 60).toFixed(0)} dB` : 'silent';
}

function fit(canvas) {
  const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext('2d');
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return {pen, width, height};
}

const still = matchMedia('(prefers-reduced-motion: reduce)');

function drawOrb(now, colours) {
  const {pen, width} = fit($('orb'));
  const middle = width / 2, turn = still.matches ? 0 : now / 1000;
  for (const [who, base, waves] of [['back', 0.33, 5], ['you', 0.27, 7]]) {
    const radius = width * (base + shown[who] * 0.13);
    pen.beginPath();
    for (let i = 0; i <= 180; i++) {
      const angle = i / 90 * Math.PI;
      const swell = 1 + Math.sin(angle * waves + turn * (who === 'you' ? 2 : -1.4)) * (0.012 + shown[who] * 0.06);
      pen.lineTo(middle + Math.cos(angle) * radius * swell, middle + Math.sin(angle) * radius * swell);
    }
    pen.closePath();
    pen.globalAlpha = 0.1 + shown[who] * 0.3;
    pen.fillStyle = colours[who];
    pen.fill();
    pen.globalAlpha = 0.35 + shown[who] * 0.65;
    pen.lineWidth = 2;
    pen.strokeStyle = colours[who];
    pen.stroke();
  }
}

function drawTrace(colours) {
  const {pen, width, height} = fit($('trace'));
  const middle = height / 2, step = width / PAST;
  past.forEach((levels, i) => {
    const x = width - (past.length - i) * step;
    for (const [who, way] of [['you', -1], ['back', 1]]) {
      pen.fillStyle = colours[who];
      pen.globalAlpha = 0.85;
      pen.fillRect(x, middle + way * 1.5, Math.max(1, step * 0.7), way * (0.5 + levels[who] * (middle - 3)));
    }
  });
}

function draw(now) {
  measure('you');
  measure('back');
  past.push({...shown});
  if (past.length > PAST) past.shift();
  const style = getComputedStyle(document.documentElement);
  const colours = {you: style.getPropertyValue('--you'), back: style.getPropertyValue('--back')};
  drawOrb(now, colours);
  drawTrace(colours);
  if (call) $('facts').textContent = `${(call.received / 1024).toFixed(0)} KiB came back`;
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
