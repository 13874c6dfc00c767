import assert from 'node:assert/strict'
import { fixed } from '../../limits.ts'
import type { ListeningLink } from '../../ports/links.ts'
import type { MailboxDevices, MailboxStore } from '../../ports/mailboxes.ts'
import { checkRandomRuns, type Draw } from '../chance.ts'
import { type Checks, upTo } from '../testCases.ts'
import type { StorageSuite, TestedStorage } from './fixture.ts'
import { append, message, messageNumbersOf, post, roomy, waiting } from './mailSteps.ts'

const dayMs = fixed.deviceSeenMs
const most = 3

/** Returns the registration of a device. */
const readerOf = (user: string, device: string): ListeningLink => ({ user, device, node: 1, session: '', epoch: 1 })

/** Returns the outcome of messages that a device has handled. */
const by = (device: string | undefined) => ({ state: 'handled', device }) as const

/** Resolves with the numbers of the messages that a device of bob still has to handle. */
async function unhandled({ mailboxes }: TestedStorage, device: string): Promise<number[]> {
  return messageNumbersOf(await mailboxes.read('bob', 0, 1_000, 1_000_000, readerOf('bob', device)))
}

type DeviceStorage = TestedStorage & { readonly devices: MailboxDevices }

/** Resolves with the names of the known devices of a user. */
const namesOf = async ({ devices }: DeviceStorage, user: string) => (await devices.list(user)).map(({ name }) => name)

/** Runs a check only if the storage has devices. */
function withDevices(check: (storage: DeviceStorage) => Promise<void>) {
  return async (storage: TestedStorage): Promise<void> => {
    if (!storage.mailboxes.devices) return
    const devices: MailboxDevices = {
      open: async (...args) => storage.mailboxes.devices?.open(...args),
      forget: async (before) => (await storage.mailboxes.devices?.forget(before)) ?? [],
      remove: async (...args) => (await storage.mailboxes.devices?.remove(...args)) ?? false,
      list: async (user) => (await storage.mailboxes.devices?.list(user)) ?? [],
    }
    await check(Object.defineProperty(storage, 'devices', { value: devices }) as DeviceStorage)
  }
}

/** Checks the messages of several devices, now and after a restart. */
async function have(storage: TestedStorage, expected: Readonly<Record<string, readonly number[]>>): Promise<void> {
  for (const _ of ['now', 'after a restart']) {
    for (const [device, numbers] of Object.entries(expected)) {
      assert.deepEqual(await unhandled(storage, device), numbers, `the messages of ${device}`)
    }
    await storage.restart()
  }
}

const deviceChecks: Checks<TestedStorage> = {
  'has the messages that wait when it is first opened, and all later ones': withDevices(async (storage) => {
    await post(storage.mailboxes, [1, 2])
    await storage.devices.open('bob', ['phone'], 0, most)
    await post(storage.mailboxes, [3])
    await have(storage, { phone: [1, 2, 3] })
    await storage.mailboxes.remove('bob', [1, 3], false, by('phone'))
    await storage.devices.open('bob', ['laptop'], 0, most)
    await have(storage, { phone: [2], laptop: [2] })
  }),
  'keeps a message in the mailbox until it has handled the message, whatever other devices do': withDevices(
    async (storage) => {
      await storage.devices.open('bob', ['phone', 'laptop'], 0, most)
      await post(storage.mailboxes, upTo(5))
      await storage.mailboxes.remove('bob', [2, 3, 5], false, by('phone'))
      await storage.mailboxes.remove('bob', [1, 2], false, by('laptop'))
      await have(storage, { phone: [1, 4], laptop: [3, 4, 5] })
      assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [1, 3, 4, 5])
      await storage.mailboxes.remove('bob', [1, 4], false, by('phone'))
      await storage.mailboxes.remove('bob', [3, 4], false, by('laptop'))
      await have(storage, { phone: [], laptop: [5] })
      assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [5])
    },
  ),
  'is not affected by answers without its name, except that these remove the messages': withDevices(async (storage) => {
    await storage.devices.open('bob', ['phone', 'laptop'], 0, most)
    await post(storage.mailboxes, upTo(3))
    await storage.mailboxes.remove('bob', [1], false, by('watch'))
    await storage.mailboxes.setAside('bob', [2], undefined, 'watch')
    await have(storage, { phone: [1, 2, 3], laptop: [1, 2, 3], watch: [1, 2, 3] })
    await storage.mailboxes.remove('bob', [1])
    await storage.mailboxes.setAside('bob', [2])
    await have(storage, { phone: [3], laptop: [3] })
  }),
  'receives a message that another device has rejected, which is set aside when all devices have answered': withDevices(
    async (storage) => {
      await storage.devices.open('bob', ['phone', 'laptop'], 0, most)
      await post(storage.mailboxes, upTo(3))
      await storage.mailboxes.setAside('bob', [1, 2], undefined, 'phone')
      await have(storage, { phone: [3], laptop: [1, 2, 3] })
      await storage.mailboxes.remove('bob', [1, 3], false, by('laptop'))
      await storage.mailboxes.setAside('bob', [3], undefined, 'phone')
      const page = { aside: true, afterSeq: 0, most: 10, mostBytes: 10_000 }
      assert.deepEqual(messageNumbersOf(await storage.mailboxes.list('bob', page)), [1, 3])
      await have(storage, { phone: [], laptop: [2] })
      await storage.mailboxes.return('bob', [1, 3], 9)
      await have(storage, { phone: [1, 3], laptop: [2, 1, 3] })
    },
  ),
  'is known without a name only if another one is known': withDevices(async (storage) => {
    await storage.devices.open('bob', [''], 0, most)
    await post(storage.mailboxes, upTo(3))
    await storage.mailboxes.remove('bob', [1], false, by(''))
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [2, 3])
    await storage.devices.open('bob', ['phone'], 0, most)
    await storage.mailboxes.remove('bob', [2], false, by('phone'))
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [3])
    await storage.devices.open('bob', ['phone', ''], 0, most)
    await storage.mailboxes.remove('bob', [3], false, by('phone'))
    await have(storage, { phone: [], '': [3] })
  }),
  'is refused beyond the maximum number, together with all others of the call': withDevices(async (storage) => {
    await storage.devices.open('bob', ['1', '2', '3', ''], 0, most)
    for (const names of [['4'], ['1', '4']]) {
      await assert.rejects(storage.devices.open('bob', names, dayMs, most), { code: 'too-many-devices' })
    }
    await storage.devices.open('bob', ['1'], 0, 1)
    await storage.devices.open('eve', ['1', '2', '3'], 0, most)
    await post(storage.mailboxes, [1])
    for (const device of ['4', '1', '2', '3']) await storage.mailboxes.remove('bob', [1], false, by(device))
    await have(storage, { 1: [], 2: [], 3: [], '': [1] })
  }),
  'is forgotten if it was not opened since a time, with the messages that only it has not handled': withDevices(
    async (storage) => {
      await storage.devices.open('bob', ['phone', 'laptop'], dayMs, most)
      await post(storage.mailboxes, upTo(3))
      await storage.mailboxes.remove('bob', [1], false, by('phone'))
      await storage.mailboxes.setAside('bob', [2], undefined, 'phone')
      await storage.devices.open('bob', ['phone'], 3 * dayMs, most)
      assert.deepEqual(await storage.devices.forget(dayMs), [])
      assert.deepEqual(await storage.devices.forget(2 * dayMs), [{ user: 'bob', device: 'laptop' }])
      await have(storage, { phone: [3], laptop: [3] })
      assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [3])
      await storage.devices.open('bob', ['laptop'], 4 * dayMs, most)
      assert.deepEqual((await storage.devices.forget(9 * dayMs)).length, 2)
      await storage.mailboxes.remove('bob', [3], false, by('tablet'))
      await have(storage, { phone: [] })
    },
  ),
  'is removed like a device that is forgotten, and is a new device when it is opened again': withDevices(
    async (storage) => {
      await storage.devices.open('bob', ['phone', 'laptop', ''], dayMs, most)
      await storage.devices.open('eve', ['laptop'], dayMs, most)
      await post(storage.mailboxes, upTo(4))
      await storage.mailboxes.remove('bob', [1, 3], false, by('phone'))
      await storage.mailboxes.setAside('bob', [2], undefined, 'phone')
      await storage.mailboxes.remove('bob', [1, 2], false, by(''))
      await storage.mailboxes.remove('bob', [3], false, by('laptop'))
      assert.equal(await storage.devices.remove('bob', 'tablet'), false)
      assert.equal(await storage.devices.remove('carol', 'laptop'), false)
      assert.equal(await storage.devices.remove('bob', 'laptop'), true)
      assert.equal(await storage.devices.remove('bob', 'laptop'), false)
      const page = { aside: true, afterSeq: 0, most: 10, mostBytes: 10_000 }
      assert.deepEqual(messageNumbersOf(await storage.mailboxes.list('bob', page)), [2])
      await have(storage, { phone: [4], '': [3, 4] })
      await storage.devices.open('bob', ['laptop'], dayMs, most)
      await have(storage, { laptop: [3, 4] })
      assert.deepEqual(
        [await storage.devices.remove('bob', 'laptop'), (await namesOf(storage, 'eve')).length],
        [true, 1],
      )
      assert.equal(await storage.devices.remove('bob', ''), true)
      assert.deepEqual([await namesOf(storage, 'bob'), await waiting(storage.mailboxes, 'bob')], [['phone'], [4]])
    },
  ),
  'without a name is removed together with the last one that has a name': withDevices(async (storage) => {
    await storage.devices.open('bob', ['phone', ''], 0, most)
    await post(storage.mailboxes, upTo(3))
    await storage.mailboxes.remove('bob', [1], false, by('phone'))
    await storage.mailboxes.remove('bob', [2], false, by(''))
    assert.equal(await storage.devices.remove('bob', 'phone'), true)
    await have(storage, { '': [1, 3] })
    assert.deepEqual(await namesOf(storage, 'bob'), [])
    await storage.mailboxes.remove('bob', [1], false, by(''))
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [3])
  }),
  'is listed with the time at which it was opened, and the number of messages that it has not handled': withDevices(
    async (storage) => {
      assert.deepEqual(await storage.devices.list('bob'), [])
      await storage.devices.open('bob', ['phone', 'laptop', ''], dayMs, most)
      await post(storage.mailboxes, upTo(4))
      await storage.mailboxes.remove('bob', [1, 2], false, by('phone'))
      await storage.mailboxes.setAside('bob', [4], undefined, 'phone')
      await storage.mailboxes.remove('bob', [3], false, by(''))
      await storage.mailboxes.setAside('bob', [2])
      await storage.devices.open('bob', ['phone'], 3 * dayMs, most)
      for (const _ of ['now', 'after a restart']) {
        const listed = await storage.devices.list('bob')
        assert.deepEqual(
          listed.map(({ name, seenAt, waiting: left }) => [name, seenAt, left]),
          [
            ['', dayMs, 2],
            ['laptop', dayMs, 3],
            ['phone', 3 * dayMs, 1],
          ],
        )
        await storage.restart()
      }
    },
  ),
  'keeps its record of handled messages when the storage is compacted': withDevices(async (storage) => {
    await storage.devices.open('bob', ['phone', 'laptop'], 0, most)
    await post(storage.mailboxes, upTo(20))
    await storage.mailboxes.remove('bob', [1, 2, 3, 7, 9], false, by('phone'))
    await storage.mailboxes.setAside('bob', [1, 11], undefined, 'laptop')
    for (let round = 0; round < 10; round++) {
      const numbers = upTo(50).map((number) => 100 + 50 * round + number)
      await Promise.all(numbers.map((number) => append(storage.mailboxes, message(number), ['carol'], roomy)))
      await storage.mailboxes.remove(
        'carol',
        (await storage.mailboxes.read('carol', 0, 100, 1e6)).map(({ seq }) => seq),
      )
      if (round % 3 === 2) await storage.restart()
    }
    const without = (...gone: number[]) => upTo(20).filter((number) => !gone.includes(number))
    await have(storage, { phone: without(1, 2, 3, 7, 9), laptop: without(1, 11) })
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), without(1))
  }),
}

const failedDeviceChecks: Checks<TestedStorage> = {
  'is unchanged after a flush has failed': withDevices(async (storage) => {
    await storage.devices.open('bob', ['phone', 'laptop'], 0, most)
    await post(storage.mailboxes, upTo(4))
    await storage.mailboxes.remove('bob', [1], false, by('phone'))
    {
      using _ = await storage.place.failFlushes?.()
      const calls = [
        storage.mailboxes.remove('bob', [1, 2], false, by('laptop')),
        storage.mailboxes.remove('bob', [2, 3], false, by('phone')),
        storage.mailboxes.setAside('bob', [4], undefined, 'phone'),
      ]
      await Promise.all(calls.map((call) => assert.rejects(call, { code: 'internal' })))
      assert.deepEqual(await unhandled(storage, 'phone'), [2, 3, 4])
      assert.deepEqual(await unhandled(storage, 'laptop'), [1, 2, 3, 4])
    }
    // A change that failed with `internal` may be stored.
    await storage.restart()
    await storage.mailboxes.remove('bob', upTo(4), false, by('phone'))
    await storage.mailboxes.remove('bob', [1, 2, 4], false, by('laptop'))
    assert.deepEqual(await waiting(storage.mailboxes, 'bob'), [3])
    await have(storage, { phone: [], laptop: [3] })
  }),
}

const users = ['bob', 'carol']
const names = ['', 'a', 'b', 'c']

type DeviceCall = ReturnType<typeof drawDeviceCall>

function drawDeviceCall(draw: Draw) {
  const user = draw.pick(users)
  const device = draw.pick([...names, undefined])
  const kind = draw.from(1, 15)
  if (kind <= 4) return { does: 'append' as const, to: draw.pick([[user], users]) }
  if (kind <= 6) return { does: 'open' as const, user, names: draw.some(1, 2, () => draw.pick(names)) }
  if (kind === 7) return { does: 'forget' as const, days: draw.from(1, 6) }
  if (kind === 15) return { does: 'removeDevice' as const, user, device: draw.pick(names) }
  if (kind === 8) return { does: 'restart' as const }
  if (kind === 9) return { does: 'pass' as const, days: draw.from(1, 3) }
  const does = kind === 10 ? ('setAside' as const) : ('remove' as const)
  return { does, user, device, picks: draw.some(1, 6, () => draw.from(0, 12)) }
}

interface ModelMessage {
  readonly seq: number
  readonly answered: Set<string>
  isRejected: boolean
  isAside: boolean
}

/** A simple model of the mailbox of a user with devices. */
class ModelBox {
  messages: ModelMessage[] = []
  /** The time at which each known device was last seen. */
  readonly devices = new Map<string, number>()

  append(seq: number): void {
    this.messages.push({ seq, answered: new Set(), isRejected: false, isAside: false })
  }

  open(given: readonly string[], now: number): boolean {
    const named = new Set([...this.devices.keys(), ...given].filter((name) => name !== ''))
    if (named.size > 2 && given.some((name) => name !== '' && !this.devices.has(name))) return false
    for (const name of named.size > 0 ? given : []) {
      const seenAt = this.devices.get(name) ?? Number.NEGATIVE_INFINITY
      if (now - seenAt >= dayMs) this.devices.set(name, now)
    }
    return true
  }

  answer(seqs: readonly number[], device: string | undefined, isRejected: boolean): void {
    const isByAll = device === undefined || this.devices.size === 0
    if (!isByAll && !this.devices.has(device)) return
    for (const each of this.messages.filter(({ seq }) => seqs.includes(seq))) {
      if (isByAll && !isRejected) this.#drop(each)
      else if (isByAll) each.isAside = true
      else if (!each.isAside && !each.answered.has(device)) {
        each.answered.add(device)
        each.isRejected ||= isRejected
      }
    }
    this.#settle()
  }

  /** Forgets the devices for which `isOld` returns true. */
  forget(isOld: (name: string, seenAt: number) => boolean): void {
    const old = [...this.devices].filter(([name, seenAt]) => isOld(name, seenAt))
    for (const [name] of old) this.devices.delete(name)
    if (old.length > 0) this.#settle()
    if ([...this.devices.keys()].every((name) => name === '')) this.devices.clear()
    for (const { answered } of this.messages)
      for (const name of answered) if (!this.devices.has(name)) answered.delete(name)
  }

  shownTo(device: string): number[] {
    const hides = ({ answered, isAside }: ModelMessage) => isAside || (this.devices.has(device) && answered.has(device))
    return this.messages.filter((each) => !hides(each)).map(({ seq }) => seq)
  }

  #settle(): void {
    if (this.devices.size === 0) return
    for (const each of this.messages.filter(({ isAside }) => !isAside)) {
      if (![...this.devices.keys()].every((name) => each.answered.has(name))) continue
      if (each.isRejected) each.isAside = true
      else this.#drop(each)
    }
  }

  #drop(message: ModelMessage): void {
    this.messages = this.messages.filter((other) => other !== message)
  }
}

/** Calls of a store and of its model. */
class DeviceTrial {
  readonly #storage: TestedStorage
  readonly #boxes = new Map(users.map((user) => [user, new ModelBox()]))
  #now = 0
  #seq = 0

  constructor(storage: TestedStorage) {
    this.#storage = storage
  }

  async make(call: DeviceCall): Promise<void> {
    const { mailboxes } = this.#storage
    switch (call.does) {
      case 'restart':
        return await this.#storage.restart()
      case 'pass':
        this.#now += (call.days * dayMs) / 2
        return
      case 'append':
        this.#seq++
        for (const user of call.to) this.#of(user).append(this.#seq)
        return await append(mailboxes, message(this.#seq), call.to, roomy)
      case 'open':
        return await this.#open(mailboxes, call.user, call.names)
      case 'forget': {
        const before = this.#now - call.days * dayMs
        for (const box of this.#boxes.values()) box.forget((_, seenAt) => seenAt < before)
        await mailboxes.devices?.forget(before)
        return
      }
      case 'removeDevice': {
        const box = this.#of(call.user)
        const isKnown = box.devices.has(call.device)
        box.forget((name) => name === call.device)
        assert.equal(await mailboxes.devices?.remove(call.user, call.device), isKnown)
        return
      }
      default:
        return await this.#answer(mailboxes, call)
    }
  }

  async #open(mailboxes: MailboxStore, user: string, names: readonly string[]): Promise<void> {
    const code = this.#of(user).open(names, this.#now) ? undefined : 'too-many-devices'
    const opened = mailboxes.devices?.open(user, names, this.#now, 2)
    assert.equal(await opened?.then(() => undefined).catch((error) => error.code), code)
  }

  async #answer(mailboxes: MailboxStore, call: DeviceCall & { does: 'remove' | 'setAside' }): Promise<void> {
    const { does, user, device } = call
    const seqs = call.picks.map((pick) => this.#seq - pick)
    this.#of(user).answer(seqs, device, does === 'setAside')
    await (does === 'remove'
      ? mailboxes.remove(user, seqs, false, by(device))
      : mailboxes.setAside(user, seqs, undefined, device))
  }

  /** Compares the messages of each device. */
  async compare(): Promise<void> {
    const { mailboxes } = this.#storage
    const levels = new Map((await mailboxes.levels()).map(({ user, messages }) => [user, messages]))
    for (const [user, box] of this.#boxes) {
      for (const name of [...names, 'other']) {
        const shown = await mailboxes.read(user, 0, 1_000, 1e6, readerOf(user, name))
        assert.deepEqual(messageNumbersOf(shown), box.shownTo(name), `the messages of ${user}'s device "${name}"`)
      }
      assert.equal(levels.get(user) ?? 0, box.messages.length)
      const listed = (await mailboxes.devices?.list(user)) ?? []
      assert.deepEqual(
        listed.map(({ name, waiting: left }) => [name, left]),
        [...box.devices.keys()].sort().map((name) => [name, box.shownTo(name).length]),
      )
    }
  }

  #of(user: string): ModelBox {
    return this.#boxes.get(user) as ModelBox
  }
}

/** Makes calls of a store and of a model, several at the same time, and compares the messages of each device. */
async function checkCalls(storage: TestedStorage, calls: readonly DeviceCall[]): Promise<void> {
  const trial = new DeviceTrial(storage)
  const isAlone = ({ does }: DeviceCall) => does === 'restart' || does === 'forget'
  let burst: Promise<void>[] = []
  for (const [at, call] of calls.entries()) {
    if (isAlone(call)) await Promise.all(burst.splice(0))
    burst.push(trial.make(call))
    if (!isAlone(call) && at % 4 !== 0) continue
    await Promise.all(burst)
    burst = []
    await trial.compare()
  }
  await Promise.all(burst)
  await trial.compare()
}

/** Checks random calls. `seed` repeats them. */
export function deviceModelChecks(open: () => Promise<TestedStorage>, seed: number): Checks<undefined> {
  return {
    'agree with a model of devices after random calls': () =>
      checkRandomRuns<DeviceCall>(seed, {
        runs: 20,
        draw: (draw) => draw.some(5, 60, () => drawDeviceCall(draw)),
        async check(calls) {
          await using storage = await open()
          if (storage.mailboxes.devices) await checkCalls(storage, calls)
        },
        textOf: (call) => JSON.stringify(call),
      }),
  }
}

/** The promises of `MailboxDevices`. */
export const deviceSuites: readonly StorageSuite[] = [
  ['a device of a user in a storage', deviceChecks],
  ['a device of a user in a storage that fails', failedDeviceChecks, 'failingLocation'],
]
