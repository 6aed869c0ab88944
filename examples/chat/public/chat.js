// The chat page: one WebSocket, kept alive for as long as the page is open.
//
// Data from the server is inserted into the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const log = $('log'), main = document.querySelector('main'), text = $('text');

const FIRST_DELAY = 500, LONGEST_DELAY = 15_000; // milliseconds
const MAX_SHOWN = 500; // messages kept in the page

let socket = null;
let attempts = 0; // failed in a row
let retry = 0; // timer
let joined = false;
let everJoined = false;
let me = 0;
let people = new Map(); // id → name
let seen = new Set(); // messages shown, so that the history after a reconnect adds only what is new
let inFlight = []; // said, and not yet come back from the server
let returned = ''; // what the input field begins with because it could not be said
let last = { id: 0, at: 0, day: '' }; // of the message shown last
let name = sessionStorage.getItem('name') ?? '';

// ---- connection

function connect() {
  clearTimeout(retry);
  retry = 0;
  show('connecting', attempts ? 'Reconnecting…' : 'Connecting…');
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const ws = new WebSocket(`${scheme}//${location.host}/chat`);
  socket = ws;
  ws.onopen = () => {
    if (name) join();
    else show('online', 'Connected');
  };
  ws.onmessage = (event) => receive(JSON.parse(event.data));
  ws.onclose = (event) => {
    if (socket !== ws) return;
    socket = null;
    joined = false;
    $('send').disabled = true;
    giveBack(inFlight.splice(0));
    if (event.code === 1008) {
      show('refused', event.reason || 'The server has closed this connection');
      return;
    }
    // Doubling, so that a server that is down isn't hammered; spread at random, so that the
    // clients of a server that restarts don't all come at the same moment.
    const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempts++) * (0.75 + Math.random() / 2);
    countDown(Date.now() + delay);
  };
}

function countDown(until) {
  const left = until - Date.now();
  if (left <= 0) return connect();
  show('waiting', left > 2000 ? `Offline, next try in ${Math.ceil(left / 1000)} s` : 'Offline, reconnecting');
  retry = setTimeout(countDown, Math.min(left, 1000), until);
}

// A phone that wakes up or finds its network again shouldn't wait for the timer.
const hurry = () => { if (retry) { attempts = 0; connect(); } };
addEventListener('online', hurry);
document.addEventListener('visibilitychange', () => { if (!document.hidden) hurry(); });

function transmit(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

function join() {
  transmit({ type: 'join', name, again: everJoined });
}

// Returns unconfirmed messages to the input field: after messages that were returned earlier, and before
// the text that was typed since.
function giveBack(words) {
  if (!words.length) return;
  if (!text.value.startsWith(returned)) returned = '';
  const since = text.value.slice(returned.length).replace(/^\n/, '');
  returned = [returned, ...words].filter(Boolean).join('\n');
  text.value = [returned, since].filter(Boolean).join('\n');
  grow();
}

// ---- what the server says

function receive(message) {
  switch (message.type) {
    case 'welcome':
      attempts = 0;
      joined = everJoined = true;
      me = message.you;
      people = new Map(message.people.map((p) => [p.id, p.name]));
      name = people.get(me);
      sessionStorage.setItem('name', name);
      localStorage.setItem('name', name);
      message.history.forEach((said) => showMessage(said));
      show('online', 'Connected');
      $('send').disabled = false;
      $('empty').textContent = 'Nobody has said anything yet. Be the first!';
      $('me').textContent = name;
      $('join').hidden = true;
      $('composer').hidden = false;
      if (!matchMedia('(pointer: coarse)').matches) text.focus();
      break;
    case 'joined':
      if (message.id !== me && !message.again) note(`${message.name} joined`);
      people.set(message.id, message.name);
      break;
    case 'left':
      note(`${people.get(message.id) ?? 'Someone'} left`);
      people.delete(message.id);
      break;
    case 'message':
      if (message.id === me) inFlight.shift();
      showMessage(message);
      break;
    case 'too-fast':
      note('That was a lot at once. Wait a moment, then send it again.');
      giveBack(inFlight.splice(0, 1));
      break;
  }
  showPeople();
}

// ---- the page

function show(state, words) {
  $('state').dataset.state = state;
  $('state').firstElementChild.textContent = words;
}

function element(tag, className, content) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (content !== undefined) e.textContent = content;
  return e;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });

function stamp(at) {
  const time = element('time', '', clock.format(at));
  time.dateTime = new Date(at).toISOString();
  time.title = new Date(at).toLocaleString();
  return time;
}

function hue(who) {
  let h = 0;
  for (const c of who) h = (h * 31 + c.codePointAt(0)) % 360;
  return h;
}

function showMessage({ key, id, name: who, text: words, at }) {
  if (seen.has(key)) return;
  seen.add(key);
  const day = calendar.format(at);
  if (day !== last.day) append(element('li', 'day', day));
  const more = day === last.day && id === last.id && at - last.at < 120_000;
  const item = element('li', `message${more ? ' more' : ''}${id === me ? ' mine' : ''}`);
  item.style.setProperty('--hue', hue(who));
  const avatar = element('span', 'avatar', [...who][0].toUpperCase());
  avatar.ariaHidden = 'true';
  const by = element('span', 'by');
  by.append(element('b', '', who), stamp(at));
  item.append(avatar, by, element('span', 'bubble', words));
  item.title = more ? clock.format(at) : '';
  append(item, id === me);
  last = { id, at, day };
}

function note(words) {
  append(element('li', 'note', words));
  last = { ...last, id: 0 };
}

// Follows the conversation, unless the reader has scrolled up to read something older.
function append(item, follow = false) {
  const atEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 60;
  log.append(item);
  while (log.children.length > MAX_SHOWN) log.firstElementChild.remove();
  if (atEnd || follow) main.scrollTop = main.scrollHeight;
  else $('latest').hidden = false;
}

function showPeople() {
  if (!joined) return;
  const n = people.size;
  $('people').hidden = false;
  $('people').textContent = n === 1 ? 'only you' : `${n} people`;
  $('roster').replaceChildren(...[...people].map(([id, who]) =>
    element('li', '', id === me ? `${who} (you)` : who)));
}

function grow() {
  text.style.height = 'auto';
  text.style.height = `${text.scrollHeight + 2}px`;
}

$('people').onclick = () => {
  $('roster').hidden = !$('roster').hidden;
  $('people').ariaExpanded = String(!$('roster').hidden);
};
$('latest').onclick = () => { main.scrollTop = main.scrollHeight; };
main.onscroll = () => {
  if (main.scrollHeight - main.scrollTop - main.clientHeight < 60) $('latest').hidden = true;
};
new ResizeObserver(() => { if ($('latest').hidden) main.scrollTop = main.scrollHeight; }).observe(main);

function askName() {
  $('name').value = name || localStorage.getItem('name') || '';
  $('join').hidden = false;
  $('composer').hidden = true;
  $('name').focus();
  $('name').select();
}
$('rename').onclick = askName;
$('join').onsubmit = (event) => {
  event.preventDefault();
  const wanted = $('name').value.trim();
  if (!wanted) return;
  name = wanted;
  join(); // without a connection: as soon as there is one
};

text.oninput = grow;
text.onkeydown = (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $('composer').requestSubmit();
  }
};
$('composer').onsubmit = (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words || !joined || !transmit({ type: 'say', text: words })) return;
  inFlight.push(words);
  text.value = returned = '';
  grow();
};

if (name) $('composer').hidden = false;
else askName();
connect();
