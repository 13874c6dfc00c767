import assert from 'node:assert/strict'
import { fileInstance, messageInstance } from '../../lib/core/instance.ts'
import { type Machine, machine } from '../../lib/core/machine.ts'
import { spec } from '../support/spec.ts'

/** The cells of a table as sentences. */
function arrows(table: Machine<string, string>['table']): string[] {
  const cells = Object.entries(table).flatMap(([state, row]) =>
    Object.entries(row).map(([event, after]) => `${state} --${event}--> ${after}`),
  )
  return cells.sort()
}

spec('a state machine', (it) => {
  const door = machine({ OPEN: { shut: 'SHUT' }, SHUT: { open: 'OPEN', kick: 'SHUT' } })

  it('follows its table', () => {
    assert.equal(door.next('OPEN', 'shut'), 'SHUT')
    assert.equal(door.next('SHUT', 'open'), 'OPEN')
    assert.equal(door.next('SHUT', 'kick'), 'SHUT')
  })

  it('rejects an event without a cell, by name', () => {
    assert.throws(() => door.next('OPEN', 'kick'), {
      code: 'internal',
      message: /kick cannot occur in the state OPEN/u,
    })
  })

  it('shows its table', () => {
    assert.deepEqual(arrows(door.table), ['OPEN --shut--> SHUT', 'SHUT --kick--> SHUT', 'SHUT --open--> OPEN'])
  })
})

/**
 * The charts of the seed. Its chart of a lost link calls RECEIVE_FILE by another name, and its chart of continuing
 * names the reply instead of the request.
 */
const charts = {
  file: [
    'IDLE(IDLE) --EV_CLT_SER_START_POST_FILE_REQ--> RECEIVE_FILE(RECEIVE_FILE)',
    'RECEIVE_FILE(RECEIVE_FILE) --EV_CLT_SER_FILE_MD5_REQ--> IDLE(IDLE)',
    'RECEIVE_FILE(RECEIVE_FILE) --EV_CLT_SER_PAUSE_FILE_REQ--> IDLE(IDLE)',
    'IDLE(IDLE) --EV_SER_CLT_CONTINUE_POST_FILE_ACK--> RECEIVE_FILE(RECEIVE_FILE)',
    'POST_FILE(POST_FILE) --EV_CLT_CLT_DISC_NTF--> IDLE(IDLE)',
  ],
  message: [
    'IDLE(IDLE) --EV_CLT_SER_REGIST_REQ--> RECEIVE_MSG(RECEIVE_MSG)',
    'RECEIVE_MSG(RECEIVE_MSG) --EV_SER_SER_DISC_NTF--> IDLE(IDLE)',
  ],
}

const ours: Readonly<Record<string, string>> = {
  EV_CLT_SER_START_POST_FILE_REQ: 'StartPostFileReq',
  EV_CLT_SER_FILE_MD5_REQ: 'FileMd5Req',
  EV_CLT_SER_PAUSE_FILE_REQ: 'PauseFileReq',
  EV_SER_CLT_CONTINUE_POST_FILE_ACK: 'ContinuePostFileReq',
  EV_CLT_SER_REGIST_REQ: 'RegistReq',
  EV_CLT_CLT_DISC_NTF: 'linkLost',
  EV_SER_SER_DISC_NTF: 'linkLost',
  POST_FILE: 'RECEIVE_FILE',
}

function drawn(chart: readonly string[]): string[] {
  return chart.map((arrow) =>
    arrow
      .replace(/\(\w+\)/gu, '')
      .split(/(\w+)/u)
      .map((word) => ours[word] ?? word)
      .join(''),
  )
}

spec('the tables of the instances', (it) => {
  it('are the charts of the seed, and for files: cancelled, restarted, refused, shut down, taken over, reading', () => {
    const more = ['CancelFileReq', 'restarted', 'refused', 'stalled', 'shutDown'].map(
      (event) => `RECEIVE_FILE --${event}--> IDLE`,
    )
    const reading = ['unused', 'linkLost', 'shutDown'].map((event) => `SEND_FILE --${event}--> IDLE`)
    more.push('RECEIVE_FILE --takenOver--> RECEIVE_FILE', 'IDLE --ReadFileReq--> SEND_FILE', ...reading)
    const expected = [...drawn(charts.file), ...more]
    assert.deepEqual(arrows(fileInstance.table), expected.sort())
  })

  it('are the charts of the seed, and for messages: taken over, shut down', () => {
    const more = ['RECEIVE_MSG --shutDown--> IDLE', 'RECEIVE_MSG --takenOver--> RECEIVE_MSG']
    assert.deepEqual(arrows(messageInstance.table), [...drawn(charts.message), ...more].sort())
  })
})
