import assert from 'node:assert/strict'
import { MiB } from '../../lib/limits.ts'
import { bytesOf, helloBytes, RawStream } from '../support/rawStream.ts'
import { spec } from '../support/spec.ts'
import { survivesAttack } from '../support/survivesAttack.ts'
import { turns } from '../support/turns.ts'
import type { Report } from '../support/watchedServer.ts'

/** The log entries about refused links in these reports. */
const refusals = ({ log }: Report) => log.filter(({ event }) => event === 'link-refused')

spec('unauthenticated links', (it) => {
  it('that are too many, from four addresses, lock no user out', async () => {
    const attack = async (port: number) => {
      const from = (at: number) => RawStream.connect(port, `127.0.0.${2 + (at % 4)}`)
      const links = await Promise.all(Array.from({ length: 400 }, (_, at) => from(at)))
      await turns(() => links.filter(({ over }) => over).length >= 300)
      await using _other = await RawStream.letIn(port, 'other')
      for (const raw of links) await raw[Symbol.asyncDispose]()
    }
    await survivesAttack(40 * MiB, attack, { pendingLinks: 100 })
  })

  it('that send HELLO as one user from four addresses lock no other user out', async () => {
    const attack = async (port: number) => {
      const from = (at: number) => RawStream.connect(port, `127.0.0.${2 + (at % 4)}`)
      const links = await Promise.all(Array.from({ length: 80 }, (_, at) => from(at)))
      await Promise.all(links.map((raw, at) => raw.write(helloBytes(`${at}`))))
      await turns(() => links.every(({ came }) => came.length > 0))
      await using _other = await RawStream.letIn(port, 'other', 'bob')
      for (const raw of links) await raw[Symbol.asyncDispose]()
    }
    await survivesAttack(40 * MiB, attack, { links: 40, linksPerUser: 60 })
  })

  it('that send HELLO_REQ byte by byte are ended when their time has elapsed', async () => {
    const attack = async (port: number) => {
      const links = await Promise.all(Array.from({ length: 100 }, () => RawStream.connect(port)))
      const [first = 0] = helloBytes()
      while (links.some(({ over }) => !over)) {
        for (const raw of links) await raw.write(Uint8Array.of(first))
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      for (const raw of links) await raw[Symbol.asyncDispose]()
    }
    await survivesAttack(40 * MiB, attack, { handshakeMs: 1_000 })
  })

  it('that announce four gigabytes are closed at once, and use no memory', async () => {
    await survivesAttack(20 * MiB, async (port) => {
      const header = bytesOf({ event: 'PingReq' }).subarray(0, 20)
      header.writeUInt32BE(0xffff_ffff)
      for (let count = 0; count < 100; count++) {
        await using raw = await RawStream.connect(port)
        await raw.write(Buffer.concat([header, new Uint8Array(100_000)]))
        await raw.dismissed('malformed')
      }
    })
  })

  it('that repeat a wrong HELLO_REQ get the reason sixty times a minute, and do not flood the log', async () => {
    const attack = async (port: number, report: () => Promise<Report>) => {
      await report()
      const codes = new Map<number, number>()
      const began = performance.now()
      for (let count = 0; count < 300; count++) {
        await using raw = await RawStream.connect(port)
        await raw.write(helloBytes('storm', `nobody-${count % 30}`))
        const { code } = await raw.until('HelloNack')
        codes.set(code, (codes.get(code) ?? 0) + 1)
      }
      const minutes = Math.ceil((performance.now() - began) / 60_000)
      const [told = 0, untold = 0] = [codes.get(3), codes.get(4)]
      assert.equal(told + untold, 300)
      assert.ok(told >= 60 && told <= 60 * minutes, `${told} got the reason in ${minutes} minutes`)
      assert.ok(refusals(await report()).length <= told + minutes)
    }
    await survivesAttack(40 * MiB, attack, { failedHellosPerAddress: 60 })
  })
})
