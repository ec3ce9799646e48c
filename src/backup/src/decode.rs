//! From stored bytes to the tool's stream, on a thread of its own.

use std::io::{self, Read};
use std::thread;

use bytes::{Buf as _, Bytes};
use md5::{Digest as _, Md5};
use secrecy::SecretString;
use tokio::sync::mpsc;

use crate::name::{Coding, Packing, Sealing};
use crate::pool::Pool;
use crate::{Progress, age, gzip, legacy};

/// Bytes handed on at once.
const CHUNK: usize = 1 << 20;

/// Keys of encrypted backups.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// Passphrase of age.
    pub passphrase: Option<SecretString>,
    /// Password of backups made before Victoria (`backup_aes_cbc_key`).
    pub legacy: Option<SecretString>,
}

/// What comes from the store, in order.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Bytes that have been compared with a checksum already.
    Checked(Bytes),
    /// Bytes.
    Data(Bytes),
    /// A part of such bytes ends here; its MD5 if that is known, and its name.
    PartEnd(Option<String>, String),
    /// Everything has come.
    End,
}

/// What goes to the reader. Without `End` the stream is not complete.
#[derive(Debug)]
pub(crate) enum Decoded {
    /// Bytes.
    Data(Bytes),
    /// Everything has come, and all of it was verified.
    End,
}

/// Nothing authenticates old encrypted backups: with a wrong key they are
/// garbage, which the decompressor is the first to notice.
fn explain(error: io::Error, coding: Coding) -> io::Error {
    let garbage = matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
    );
    match coding.sealed == Sealing::Legacy && garbage {
        true => bad(&format!(
            "{error}: backup_aes_cbc_key is another key than the backup's, or it is damaged"
        )),
        false => error,
    }
}

type Out = mpsc::Sender<io::Result<Decoded>>;

/// Runs until the end, an error, or until nobody listens any more.
pub(crate) fn run(
    input: mpsc::Receiver<io::Result<Fetched>>,
    coding: Coding,
    keys: &Keys,
    progress: &Progress,
    out: &Out,
) {
    let decoded = decode(input, coding, keys, progress, out);
    if let Err(error) = decoded.map_err(|error| explain(error, coding)) {
        // Nobody listening is how a reader gives up.
        let _gone = out.blocking_send(Err(error));
    }
}

fn decode(
    input: mpsc::Receiver<io::Result<Fetched>>,
    coding: Coding,
    keys: &Keys,
    progress: &Progress,
    out: &Out,
) -> io::Result<()> {
    let mut source = Source::new(input);
    let pool = Pool::default();
    {
        let mut clear: Box<dyn Read + '_> = match coding.sealed {
            Sealing::Clear => Box::new(&mut source),
            Sealing::Age => Box::new(age::Decryptor::new(
                &mut source,
                key(&keys.passphrase, "backup_encryption_passphrase")?,
            )?),
            Sealing::Legacy => Box::new(legacy::Decryptor::new(
                &mut source,
                key(&keys.legacy, "backup_aes_cbc_key")?,
            )?),
        };
        match coding.packed {
            Packing::Plain => pump(&mut clear, &pool, progress, out)?,
            Packing::Gzip => {
                let threads = thread::available_parallelism().map_or(1, usize::from);
                gzip::decompress(&mut clear, threads, &pool, |piece| {
                    send(piece, progress, out)
                })?;
            }
            Packing::Zstd => {
                let buffered = io::BufReader::with_capacity(CHUNK, &mut clear);
                let mut decoder = zstd::Decoder::with_buffer(buffered)?;
                pump(&mut decoder, &pool, progress, out)?;
            }
        }
        // A decoder may stop before the end of what it was given.
        if clear.read(&mut [0])? != 0 {
            return Err(bad("something follows the end of the compressed stream"));
        }
    }
    source.finish()?;
    let _gone = out.blocking_send(Ok(Decoded::End));
    Ok(())
}

fn key<'a>(key: &'a Option<SecretString>, option: &str) -> io::Result<&'a SecretString> {
    key.as_ref().ok_or_else(|| {
        bad(&format!(
            "Decryption key not configured for encrypted backup: {option} is not set"
        ))
    })
}

fn pump(from: &mut impl Read, pool: &Pool, progress: &Progress, out: &Out) -> io::Result<()> {
    loop {
        let mut chunk = pool.take();
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        while filled < chunk.len() {
            match from.read(&mut chunk[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        if filled == 0 {
            return Ok(());
        }
        let ended = filled < chunk.len();
        chunk.truncate(filled);
        send(chunk.into(), progress, out)?;
        if ended {
            return Ok(());
        }
    }
}

fn send(bytes: Bytes, progress: &Progress, out: &Out) -> io::Result<()> {
    progress.add_plain(bytes.len());
    out.blocking_send(Ok(Decoded::Data(bytes)))
        .map_err(|_| io::ErrorKind::BrokenPipe.into())
}

/// The fetched bytes as a reader that compares checksums as they pass.
struct Source {
    input: mpsc::Receiver<io::Result<Fetched>>,
    current: Bytes,
    digest: Md5,
    ended: bool,
}

impl Source {
    fn new(input: mpsc::Receiver<io::Result<Fetched>>) -> Self {
        Self {
            input,
            current: Bytes::new(),
            digest: Md5::new(),
            ended: false,
        }
    }

    /// Makes `current` non-empty, or notices the end.
    fn advance(&mut self) -> io::Result<()> {
        while self.current.is_empty() && !self.ended {
            match self.input.blocking_recv() {
                Some(Ok(Fetched::Checked(bytes))) => self.current = bytes,
                Some(Ok(Fetched::Data(bytes))) => {
                    self.digest.update(&bytes);
                    self.current = bytes;
                }
                Some(Ok(Fetched::PartEnd(expected, name))) => {
                    let actual = hex(&std::mem::take(&mut self.digest).finalize());
                    if let Some(expected) = expected
                        && expected != actual
                    {
                        return Err(bad(&format!(
                            "{name} has MD5 {actual}, not {expected}: it is damaged"
                        )));
                    }
                }
                Some(Ok(Fetched::End)) => self.ended = true,
                Some(Err(error)) => return Err(error),
                None => return Err(bad("the download stopped")),
            }
        }
        Ok(())
    }

    /// Everything must have been read and compared.
    fn finish(mut self) -> io::Result<()> {
        self.advance()?;
        match self.current.is_empty() {
            true => Ok(()),
            false => Err(bad("something follows its end")),
        }
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.advance()?;
        let take = out.len().min(self.current.len());
        self.current.copy_to_slice(&mut out[..take]);
        Ok(take)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
