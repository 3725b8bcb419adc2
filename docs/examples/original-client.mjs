// The client of the system that the hub replaces, without its browser: what its chat page did (docs/protocol.md), written
// against nothing but the original's REST routes and frames. It makes two users talk: chat, typing, read, a file, and, with
// --restart, what happens when the server goes away and comes back.
//
//   npm install ws
//   hub serve --dev --auth-cookie sessionid &
//   node original-client.mjs http://127.0.0.1:8080
//
// Each step prints "ok - ..."; anything else ends it with exit code 1.
// With --restart it prints "restart the hub" when it is time to, and waits for as long as that takes.
//
// Environment: RECONNECT_MS, the original's 3000; COOKIE, the name of the session cookie, sessionid; PATIENCE_MS, how long a
// step may take, 60000; TENANT, whose users they are.

import { randomUUID } from 'node:crypto'
import WebSocket from 'ws'

const argument = process.argv.slice(2).find((a) => !a.startsWith('--'))
const restart = process.argv.includes('--restart')
const base = (argument ?? 'http://127.0.0.1:8080').replace(/\/$/, '')
const reconnectDelay = Number(process.env.RECONNECT_MS ?? 3000)
const maxReconnectAttempts = 5
const typingIdle = 1000
const patience = Number(process.env.PATIENCE_MS ?? 60000)
const cookie = process.env.COOKIE ?? 'sessionid'

// ---- REST: JWT in the Authorization header.

async function rest(user, method, path, body) {
  const headers = {}
  if (user) headers.Authorization = `Bearer ${user.access}`
  if (body && !(body instanceof FormData)) {
    headers['Content-Type'] = 'application/json'
    body = JSON.stringify(body)
  }
  const response = await fetch(base + path, { method, headers, body })
  const text = await response.text()
  return { status: response.status, body: text ? JSON.parse(text) : null }
}

async function want(status, answer) {
  const { status: got, body } = await answer
  if (got !== status) throw new Error(`status ${got} instead of ${status}: ${JSON.stringify(body)}`)
  return body
}

async function login(username) {
  const tenant = process.env.TENANT
  const tokens = await want(200, rest(null, 'POST', '/api/v1/auth/token/', { username, password: 'secret', ...(tenant && { tenant }) }))
  return { username, ...tokens }
}

// ---- The chat page: one socket per conversation, the session cookie, a chain of ifs over the types it knows.

class ChatPage {
  constructor(user, conversation) {
    this.user = user
    this.conversation = conversation
    this.messages = [] // what is on the page
    this.typing = false // "... is typing" is on the page
    this.read = new Set() // messages with a mark
    this.errors = [] // frames that the original dropped
    this.waiting = []
    this.attempts = 0
    this.connect()
  }

  connect() {
    const url = base.replace(/^http/, 'ws') + `/ws/chat/${this.conversation}/`
    this.socket = new WebSocket(url, { origin: base, headers: { Cookie: `${cookie}=${this.user.access}` } })
    this.socket.on('open', () => { this.attempts = 0 })
    this.socket.on('message', (data) => this.onMessage(JSON.parse(data)))
    this.socket.on('error', () => {}) // close follows
    this.socket.on('close', (code) => this.onClose(code))
  }

  onMessage(data) {
    if (data.type === 'message') {
      this.messages.push({ ...data, own: data.sender === this.user.username })
      if (data.sender !== this.user.username) this.send({ type: 'read', message_id: data.id })
    } else if (data.type === 'typing') {
      if (data.typing_user !== this.user.username) this.typing = data.is_typing
    } else if (data.type === 'read') {
      if (data.user !== this.user.username) this.read.add(data.message_id)
    } else if (data.type === 'status') {
      this.online = data.is_online
    } else if (data.type === 'error') {
      this.errors.push(data)
    }
    this.notify()
  }

  // Five attempts with a fixed delay; then the page is loaded anew, which begins from the start.
  onClose(code) {
    this.online = false
    this.closeCode = code
    this.notify()
    if (this.leaving) return
    this.timer = setTimeout(() => {
      this.attempts = this.attempts < maxReconnectAttempts ? this.attempts + 1 : 0
      this.connect()
    }, reconnectDelay)
  }

  send(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame))
  }

  say(content, file) {
    this.send({ type: 'send_message', content, ...(file && { file }) })
  }

  // Each key: true; a second without one: false.
  input() {
    this.send({ type: 'typing', is_typing: true })
    clearTimeout(this.idle)
    this.idle = setTimeout(() => this.send({ type: 'typing', is_typing: false }), typingIdle)
  }

  leave() {
    this.leaving = true
    clearTimeout(this.timer)
    clearTimeout(this.idle)
    this.socket.close(1000)
  }

  notify() {
    this.waiting = this.waiting.filter((w) => !w())
  }

  until(what, condition) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.user.username} waited in vain: ${what}`)), patience)
      const check = () => {
        const value = condition()
        if (!value) return false
        clearTimeout(timer)
        resolve(value)
        return true
      }
      if (!check()) this.waiting.push(check)
    })
  }

  message(content) {
    return this.until(`message ${JSON.stringify(content)}`, () => this.messages.find((m) => m.content === content))
  }
}

// ---- What two people do.

const ok = (what) => console.log(`ok - ${what}`)
const assert = (condition, what) => { if (!condition) throw new Error(what) }

async function main() {
  const id = randomUUID().slice(0, 8)
  const [ann, bob] = await Promise.all([login(`ann-${id}`), login(`bob-${id}`)])
  ok('both have tokens')

  const conversation = await want(201, rest(ann, 'POST', '/api/v1/messages/conversations/', { participant_ids: [bob.username] }))
  const again = await want(201, rest(bob, 'POST', '/api/v1/messages/conversations/', { participant_ids: [ann.username] }))
  assert(again.id === conversation.id && conversation.is_group === false, 'not one direct conversation')
  ok('a conversation by REST, the same from both sides')

  const a = new ChatPage(ann, conversation.id)
  const b = new ChatPage(bob, conversation.id)
  await Promise.all([a, b].map((p) => p.until('status frame', () => p.online)))
  ok('connected with the session cookie, status frame received')

  a.say('  Hello <b>Bob</b>  ')
  const [mine, theirs] = await Promise.all([a, b].map((p) => p.message('Hello <b>Bob</b>')))
  assert(mine.own && !theirs.own && mine.id === theirs.id, 'who sent it is not right')
  for (const field of ['id', 'sender', 'content', 'timestamp', 'file', 'is_voice', 'is_read', 'conversation_id']) {
    assert(field in theirs, `message has no ${field}`)
  }
  assert(theirs.conversation_id === conversation.id && theirs.file === '' && theirs.is_read === false, JSON.stringify(theirs))
  b.say('Hello Ann')
  await Promise.all([a, b].map((p) => p.message('Hello Ann')))
  ok('chat: each sees both messages')

  await a.until('read', () => a.read.has(theirs.id))
  const read = await want(200, rest(ann, 'GET', `/api/v1/messages/messages/${theirs.id}/`))
  assert(read.is_read === true && read.read_by[0].user_id === bob.username, JSON.stringify(read))
  ok('read: the sender sees it, and REST says so')

  a.input()
  await b.until('typing', () => b.typing)
  await b.until('typing ends', () => !b.typing)
  ok('typing: shown, and gone a second after the last key')

  a.say('   ')
  const empty = await a.until('error', () => a.errors.pop())
  assert(empty.message === 'Empty message' && a.socket.readyState === WebSocket.OPEN, JSON.stringify(empty))
  ok('an empty message is refused, and the socket stays open')

  await file(a, b)
  await upload(bob, b, conversation.id)

  if (restart) {
    const before = [a, b].map((p) => p.messages.length)
    console.log('restart the hub')
    await Promise.all([a, b].map((p) => p.until('close', () => !p.online)))
    assert([1001, 1006].includes(a.closeCode), `closed with ${a.closeCode}`)
    await Promise.all([a, b].map((p) => p.until('status frame again', () => p.online)))
    b.say('still there?')
    await Promise.all([a, b].map((p) => p.message('still there?')))
    const history = await want(200, rest(ann, 'GET', `/api/v1/messages/messages/?conversation=${conversation.id}`))
    assert(history.count === before[0] + 1, `${history.count} messages, ${before[0]} before the restart`)
    ok('reconnected by itself after the restart, nothing is lost')
  }

  const list = await want(200, rest(bob, 'GET', '/api/v1/messages/conversations/'))
  assert(list.count === 1 && list.results[0].id === conversation.id, JSON.stringify(list))
  ok('the list of conversations')
  a.leave()
  b.leave()
  await Promise.all([a, b].map((p) => p.until('close', () => p.closeCode === 1000)))
  ok('closed with 1000')
  console.log('done')
}

const text = 'A text file, as the original sent them.\n'

// A file in a frame, base64.
async function file(a, b) {
  const name = 'letter.txt'
  a.say('with a file', { name, content: Buffer.from(text).toString('base64'), size: text.length })
  const got = await a.until('the file or an error', () => a.errors.pop() ?? a.messages.find((m) => m.content === 'with a file'))
  assert(got.type === 'message', JSON.stringify(got))
  const message = await b.message('with a file')
  assert(message.file !== '', JSON.stringify(message))
  await download(b.user, message.file)
  ok('file in a frame: the other one downloads the same bytes')
}

// A file by REST, multipart.
async function upload(user, page, conversation) {
  const form = new FormData()
  form.set('conversation_id', conversation)
  form.set('content', 'uploaded')
  form.set('file', new Blob([text], { type: 'text/plain' }), 'upload.txt')
  const body = await want(201, rest(user, 'POST', '/api/v1/messages/messages/', form))
  await page.message('uploaded')
  const message = await want(200, rest(user, 'GET', `/api/v1/messages/messages/${body.id}/`))
  await download(user, message.file_url)
  ok('file by REST: downloaded again')
}

async function download(user, url) {
  const response = await fetch(new URL(url, base), { headers: { Authorization: `Bearer ${user.access}` } })
  assert(response.status === 200 && (await response.text()) === text, `${url}: status ${response.status}`)
}

main().then(() => process.exit(0), (err) => {
  console.error(err)
  process.exit(1)
})
