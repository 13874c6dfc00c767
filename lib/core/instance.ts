import { machine } from './machine.ts'

/**
 * The states of a FileApp instance as in the charts of the seed (多文件上传, 暂停发送, 继续发送, 断点续传), with these additions:
 * cancelled, restarted, taken over, refused (disk full, quota), stalled, shut down, and reading (SEND_FILE). A transition that a request causes has the
 * name of the request.
 */
export const fileInstance = machine({
  IDLE: { StartPostFileReq: 'RECEIVE_FILE', ContinuePostFileReq: 'RECEIVE_FILE', ReadFileReq: 'SEND_FILE' },
  RECEIVE_FILE: {
    FileMd5Req: 'IDLE',
    PauseFileReq: 'IDLE',
    CancelFileReq: 'IDLE',
    linkLost: 'IDLE',
    restarted: 'IDLE',
    refused: 'IDLE',
    stalled: 'IDLE',
    shutDown: 'IDLE',
    takenOver: 'RECEIVE_FILE',
  },
  SEND_FILE: { unused: 'IDLE', linkLost: 'IDLE', shutDown: 'IDLE' },
})

/** The states of a MsgApp instance as in the chart of the seed (在线客户端列表), with these additions: taken over, shut down. */
export const messageInstance = machine({
  IDLE: { RegistReq: 'RECEIVE_MSG' },
  RECEIVE_MSG: { linkLost: 'IDLE', takenOver: 'RECEIVE_MSG', shutDown: 'IDLE' },
})
