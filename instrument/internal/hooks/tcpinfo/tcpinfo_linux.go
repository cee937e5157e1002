package tcpinfo

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/redial-dev/redial/instrument/event"
)

// Socket is a TCP connection that the kernel can be asked about.
type Socket struct{ conn syscall.RawConn }

// Of returns the socket of a connection, or nil if it is not one of TCP.
func Of(conn net.Conn) *Socket {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	if _, tcp := conn.LocalAddr().(*net.TCPAddr); !tcp {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil || raw == nil {
		return nil
	}
	return &Socket{raw}
}

// states are the kernel's names, by number (include/net/tcp_states.h).
var states = [...]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT",
	7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}

// Info returns what the kernel knows of the socket, or nil if the socket is closed.
func (s *Socket) Info() (tcp *event.TCP) {
	err := s.conn.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || int(info.State) >= len(states) {
			return
		}
		tcp = &event.TCP{
			State:       states[info.State],
			RTT:         time.Duration(info.Rtt) * time.Microsecond,
			Retransmits: int64(info.Total_retrans),
			Unacked:     int64(info.Unacked),
			InFlight:    inFlight(info),
			Unsent:      int64(info.Notsent_bytes),
			Idle:        time.Duration(info.Last_data_recv) * time.Millisecond,
			AckIdle:     time.Duration(info.Last_ack_recv) * time.Millisecond,
			SendIdle:    time.Duration(info.Last_data_sent) * time.Millisecond,
			RTO:         time.Duration(info.Rto) * time.Microsecond,
			Timeouts:    int64(info.Retransmits),
			Probes:      int64(info.Probes),

			MinRTT:       time.Duration(info.Min_rtt) * time.Microsecond,
			DeliveryRate: info.Delivery_rate,
			Sent:         int64(info.Data_segs_out),
			Spurious:     int64(info.Dsack_dups),
		}
	})
	if err != nil { // It is closed: nothing is known.
		return nil
	}
	return tcp
}

// HasUserTimeout reports whether TCP_USER_TIMEOUT is set, and whether that is known.
func (s *Socket) HasUserTimeout() (set, known bool) {
	err := s.conn.Control(func(fd uintptr) {
		timeout, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		set, known = timeout != 0, err == nil
	})
	return set, known && err == nil
}

// inFlight returns how many bytes are not acknowledged: at most, where the kernel is too old (before 4.19) to count
// them.
func inFlight(info *unix.TCPInfo) int64 {
	if info.Bytes_sent == 0 {
		return int64(info.Unacked) * int64(info.Snd_mss)
	}
	return int64(info.Bytes_sent) - int64(info.Bytes_retrans) - int64(info.Bytes_acked)
}
