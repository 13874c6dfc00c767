import { ClusterLinks } from '../../../../lib/adapters/cluster/clusterLinks.ts'
import { ClusterMailboxes } from '../../../../lib/adapters/cluster/clusterMailboxes.ts'
import { ClusterMember } from '../../../../lib/adapters/cluster/clusterMember.ts'
import type { Steps } from '../../../../lib/adapters/cluster/steps.ts'
import { nodePlatform } from '../../../../lib/adapters/node/nodePlatform.ts'
import type { LinksLocation } from '../../../../lib/testing.ts'

/** Returns servers of a cluster. Each call of `steps` resolves with open steps of a further server. */
export function clusterLinks(steps: () => Promise<Steps>): LinksLocation {
  const platform = nodePlatform()
  const closing: (() => Promise<void>)[] = []
  return {
    async server(events, isNotified) {
      const own = await steps()
      const hear: Steps['hear'] = (...given) => (isNotified ? own.hear(...given) : { [Symbol.dispose]() {} })
      const member = new ClusterMember({ ...own, hear }, { name: 'a', version: '1', address: '' })
      const links = new ClusterLinks(member)
      const mailboxes = new ClusterMailboxes(member, links)
      const close = async () => {
        await links[Symbol.asyncDispose]()
        await mailboxes.close()
        await member[Symbol.asyncDispose]()
      }
      closing.push(close)
      links.watch(events)
      await member.open(platform)
      await links.open()
      // Resolves after the server has begun to listen for notifications. Earlier ones would be missed.
      await member.tell(member.server, { kind: 'users' })
      return { links, mailboxes, close }
    },
    async [Symbol.asyncDispose]() {
      for (const close of closing) await close()
    },
  }
}
