import type { Limits } from 'ospd'
import { count, duration, percent, setting, size, type Values } from '../common/settings.ts'

/** The settings of `ospd serve` by which it withstands those who want too much of it. */
export const limitSettings = {
  'max-links': setting(count, '2000', { describe: 'maximum number of links that are logged in' }),
  'links-per-address': setting(count, '500', {
    describe: 'maximum number of them from one address (IPv6: one /64)',
  }),
  'links-per-user': setting(count, '200', { describe: 'maximum number of them of one user' }),
  'pending-links': setting(count, '500', { describe: 'maximum number of links that have not logged in yet' }),
  'handshake-time': setting(duration, '10s', { describe: 'how long a new link may take to say who it is' }),
  'idle-time': setting(duration, '1h', { describe: 'a link that does nothing is closed after it' }),
  'failed-hellos-per-address': setting(count, '60', {
    describe: 'refused HELLOs in a minute from one address that are told why',
  }),
  'failed-hellos-per-user': setting(count, '10', { describe: 'wrong tokens of one user from one address, the same' }),
  'log-lines-per-user': setting(count, '10', {
    describe: 'maximum number of log lines a second about what one user does, averaged over ten',
  }),
  'log-lines-per-address': setting(count, '30', {
    describe: 'the same for all users of one address, and for refused links of all',
  }),
  'refusal-lines-per-address': setting(count, '60', {
    describe: 'maximum number of log lines in a minute about refused links of one address',
  }),
  'frames-per-second': setting(count, '100000', {
    describe: 'requests and answers of one user that are read a second',
  }),
  'bytes-per-second': setting(size, '2G', { describe: 'bytes of one user that are read a second, 64k or more' }),
  'work-per-second': setting(duration, '1s', {
    describe: "time that one user's requests may take in a second; of several busy users each gets an equal part",
  }),
  'registrations-per-second': setting(count, '50', {
    describe: 'requests of one user to be listed, or not, that are read a second',
  }),
  'uploads-per-user': setting(count, '100', { describe: 'uploads at once of one user at most' }),
  'user-files': setting(count, '1000000', { describe: "maximum number of one user's files and folders" }),
  'entry-size': setting(size, '4k', {
    describe: 'size that each file and folder counts for in --quota, in addition to its content',
  }),
  'stalled-time': setting(duration, '1m', {
    describe:
      'an upload without progress for this time, divided by the uploads of its user, yields to a user with fewer, and any upload to a user with two fewer',
  }),
  'registrations-per-user': setting(count, '20', { describe: 'clients for messages at once of one user at most' }),
  'mailbox-messages': setting(count, '10000', { describe: 'messages that wait for one user at most' }),
  'mailbox-size': setting(size, '64M', { describe: 'bytes of messages that wait for one user at most' }),
  'waiting-messages': setting(count, '1000000', { describe: 'maximum number of messages that wait for all users' }),
  'message-ids': setting(count, '2000000', { describe: 'maximum number of message ids remembered of all senders' }),
  'message-ids-per-user': setting(count, '500000', { describe: 'maximum number of message ids remembered of one' }),
  'sender-share': setting(percent, '50', {
    describe:
      'the part of a mailbox, of all waiting messages, of message ids and of the free disk that one sender can fill',
  }),
  'message-age': setting(duration, '30d', { describe: 'how long a message waits for its recipient' }),
} as const

/** What of them bounds the server. */
export function limitsOfSettings(values: Values<typeof limitSettings>): Partial<Limits> {
  return {
    links: values['max-links'],
    linksPerAddress: values['links-per-address'],
    linksPerUser: values['links-per-user'],
    pendingLinks: values['pending-links'],
    handshakeMs: values['handshake-time'],
    idleMs: values['idle-time'],
    failedHellosPerAddress: values['failed-hellos-per-address'],
    failedHellosPerUser: values['failed-hellos-per-user'],
    logLinesPerUser: values['log-lines-per-user'],
    logLinesPerAddress: values['log-lines-per-address'],
    refusalLinesPerAddress: values['refusal-lines-per-address'],
    framesPerSecond: values['frames-per-second'],
    bytesPerSecond: values['bytes-per-second'],
    workMsPerSecond: values['work-per-second'],
    registrationsPerSecond: values['registrations-per-second'],
    uploadsPerUser: values['uploads-per-user'],
    userFiles: values['user-files'],
    entryBytes: values['entry-size'],
    stalledMs: values['stalled-time'],
    registrationsPerUser: values['registrations-per-user'],
    mailboxMessages: values['mailbox-messages'],
    mailboxBytes: values['mailbox-size'],
    waitingMessages: values['waiting-messages'],
    messageIds: values['message-ids'],
    senderIds: values['message-ids-per-user'],
    senderSharePercent: values['sender-share'],
    messageAgeMs: values['message-age'],
  }
}
