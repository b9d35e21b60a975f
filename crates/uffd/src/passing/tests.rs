//! Descriptors passed within this process, over both kinds of socket.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use rustix::io::{FdFlags, fcntl_getfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::*;
use crate::testing::{in_child, this_test};

const KINDS: [SocketType; 2] = [SocketType::STREAM, SocketType::SEQPACKET];

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, kind, flags, None).unwrap()
}

/// Receives a message that must be there.
fn receive(socket: &OwnedFd) -> (Vec<u8>, Vec<OwnedFd>) {
    let mut payload = [0; 64];
    let received = recv_fds(socket, &mut payload).unwrap().expect("a message");
    (payload[..received.len].to_vec(), received.fds)
}

/// Says whether every copy of the pipe's writing end is closed.
fn is_hung_up(reader: &OwnedFd) -> bool {
    rustix::io::ioctl_fionbio(reader, true).unwrap();
    rustix::io::read(reader, &mut [0; 1]) == Ok(0)
}

#[test]
fn several_descriptors_arrive_in_order_with_their_payload() {
    for kind in KINDS {
        let (near, far) = pair(kind);
        let (first_reader, first) = pipe().unwrap();
        let (second_reader, second) = pipe().unwrap();
        let fds = [first.as_fd(), second.as_fd(), first_reader.as_fd()];

        assert_eq!(send_fds(&near, b"three", &fds), Ok(5));
        let (payload, mut received) = receive(&far);

        assert_eq!(payload, b"three");
        assert_eq!(received.len(), 3);
        for fd in &received {
            assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
        }
        let third = received.pop().unwrap();
        File::from(received.pop().unwrap()).write_all(b"2").unwrap();
        File::from(received.pop().unwrap()).write_all(b"1").unwrap();
        let mut byte = [0];
        File::from(second_reader).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"2");
        File::from(third).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"1");
    }
}

#[test]
fn as_many_descriptors_as_a_message_takes_are_passed_and_no_more() {
    let (near, far) = pair(SocketType::STREAM);
    let all = [near.as_fd(); FDS_PER_MESSAGE];
    assert_eq!(send_fds(&near, b"x", &all), Ok(1));
    assert_eq!(receive(&far).1.len(), FDS_PER_MESSAGE);

    let more = [near.as_fd(); FDS_PER_MESSAGE + 1];
    assert_eq!(send_fds(&near, b"x", &more), Err(PassError::TooMany(254)));
}

#[test]
fn descriptors_without_a_payload_are_refused() {
    let (near, _far) = pair(SocketType::SEQPACKET);
    assert_eq!(send_fds(&near, b"", &[near.as_fd()]), Err(PassError::NoPayload));
}

#[test]
fn a_payload_without_descriptors_is_a_message_too() {
    for kind in KINDS {
        let (near, far) = pair(kind);
        assert_eq!(send_fds(&near, b"alone", &[]), Ok(5));
        let (payload, fds) = receive(&far);
        assert_eq!((&payload[..], fds.len()), (&b"alone"[..], 0));
    }
}

#[test]
fn bytes_of_a_stream_keep_to_their_descriptors() {
    let (near, far) = pair(SocketType::STREAM);
    send_fds(&near, b"one", &[near.as_fd()]).unwrap();
    send_fds(&near, b"two", &[near.as_fd(), near.as_fd()]).unwrap();
    let (payload, fds) = receive(&far);
    assert_eq!((&payload[..], fds.len()), (&b"one"[..], 1));
    let (payload, fds) = receive(&far);
    assert_eq!((&payload[..], fds.len()), (&b"two"[..], 2));
}

#[test]
fn a_message_too_long_is_an_error_and_its_descriptors_are_closed() {
    let (near, far) = pair(SocketType::SEQPACKET);
    let (reader, writer) = pipe().unwrap();
    send_fds(&near, b"too long", &[writer.as_fd()]).unwrap();
    drop(writer);
    assert!(!is_hung_up(&reader), "under way");
    let error = recv_fds(&far, &mut [0; 3]).unwrap_err();
    assert_eq!(error, PassError::PayloadTruncated(3));
    assert!(is_hung_up(&reader));
}

#[test]
fn lost_descriptors_are_an_error_and_the_others_are_closed() {
    let status =
        in_child(this_test!(lost_descriptors_are_an_error_and_the_others_are_closed), || {
            let (near, far) = pair(SocketType::STREAM);
            let (reader, writer) = pipe().unwrap();
            let [first, second] = [reader.try_clone().unwrap(), reader.try_clone().unwrap()];
            let limit = u64::try_from(second.as_raw_fd()).unwrap() + 1;
            assert!(first.as_raw_fd() < second.as_raw_fd());
            let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
            setrlimit(Resource::Nofile, limit).unwrap();
            send_fds(&near, b"x", &[writer.as_fd(); 4]).unwrap();
            // Three numbers are free now.
            drop((writer, first, second));

            let error = recv_fds(&far, &mut [0; 8]).unwrap_err();

            assert_eq!(error, PassError::DescriptorsLost);
            assert!(is_hung_up(&reader), "all four are closed");
            let free = [(); 3].map(|()| File::open("/dev/null").unwrap());
            assert!(File::open("/dev/null").is_err(), "{free:?}");
        });
    assert!(status.success(), "{status}");
}

#[test]
fn the_end_and_an_empty_socket_are_told_apart() {
    for kind in KINDS {
        let (near, far) = pair(kind);
        let error = recv_fds(&far, &mut [0; 8]).unwrap_err();
        assert_eq!(error, PassError::Receive(Errno::AGAIN));
        drop(near);
        assert!(recv_fds(&far, &mut [0; 8]).unwrap().is_none());
        let error = send_fds(&far, b"x", &[far.as_fd()]).unwrap_err();
        assert_eq!(error, PassError::Send(Errno::PIPE));
        assert_eq!(
            error.to_string(),
            "cannot send descriptors: the other side has closed the socket"
        );
    }
}

#[test]
fn a_file_is_no_socket() {
    let file = File::open("/dev/null").unwrap();
    let error = send_fds(&file, b"x", &[file.as_fd()]).unwrap_err();
    assert_eq!(error, PassError::Send(Errno::NOTSOCK));
}
