//! What a sink refused, sent to it again.

use super::super::again::Again;
use super::super::{NotResent, resend, standings};
use super::*;

impl World {
    /// A log that the writer wrote and signed, with so many records.
    async fn real_log(&self, count: u64) {
        let (auditor, writer) = open(self.folder.path());
        for _ in 0..count {
            let entry: Entry = auditor.begin().await.unwrap();
            entry.close(crate::audit::Code::Ok);
        }
        writer.close().unwrap();
        self.covered.send_replace(count);
    }

    async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(done.is_ok(), "{what}");
    }

    fn file(&self, suffix: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("sinks/s.{suffix}"))
    }
}

#[tokio::test]
async fn what_was_refused_is_sent_again_when_it_is_asked_for() {
    let world = World::new();
    world.real_log(6).await;
    world.far.poison.lock().extend([2, 4]);
    let task = world.run(From::Start, 0);
    world
        .until("all is offered", |it| it.refused() == [2, 4])
        .await;
    assert!(matches!(
        resend(world.folder.path(), "t"),
        Err(NotResent::Nothing)
    ));
    // One of them is refused once more, and put aside once more.
    world.far.poison.lock().retain(|seq| *seq == 4);
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 2);
    world
        .until("it is sent", |it| {
            it.far.records().len() == 5 && !it.file("resend").exists()
        })
        .await;
    assert_eq!(world.refused(), [4]);
    world.far.poison.lock().clear();
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 1);
    world
        .until("it is sent", |it| it.far.records().len() == 6)
        .await;
    world
        .until("it ends", |it| !it.file("resend").exists())
        .await;
    assert_eq!(world.far.records(), [0, 1, 3, 5, 2, 4]);
    world.stop.send_replace(true);
    task.await.unwrap();
    assert_eq!(world.stored(), "6\n");
    let standings = standings(world.folder.path(), &["new".to_owned()]).unwrap();
    let all = standings
        .iter()
        .map(|it| (&*it.name, it.configured, it.next, it.lag, it.refused));
    assert_eq!(
        all.collect::<Vec<_>>(),
        [("new", true, None, 0, 0), ("s", false, Some(6), 0, 0)]
    );
}

#[tokio::test]
async fn nothing_is_sent_again_that_was_not_signed_and_nothing_twice_at_once() {
    let world = World::new();
    world.real_log(6).await;
    world.far.poison.lock().extend([1, 2, 3]);
    world.run_out().await;
    assert_eq!(world.refused(), [1, 2, 3]);
    let text = fs::read_to_string(world.file("refused")).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[0] = lines[0].replace("\"code\":\"ok\"", "\"code\":\"no\"");
    lines[1] = "no line of ours".to_owned();
    fs::write(world.file("refused"), lines.join("\n") + "\n").unwrap();
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 3);
    fs::copy(world.file("resend"), world.file("refused")).unwrap();
    assert!(matches!(
        resend(world.folder.path(), "s"),
        Err(NotResent::UnderWay(_))
    ));
    world.far.poison.lock().clear();
    let task = world.run(From::Start, 0);
    world
        .until("it ends", |it| !it.file("resend").exists())
        .await;
    task.abort();
    assert_eq!(world.far.records(), [0, 4, 5, 3]);
    let kept = fs::read_to_string(world.file("bad")).unwrap();
    assert_eq!(kept, format!("{}\n{}\n", lines[0], lines[1]));
}

#[tokio::test]
async fn while_the_tree_cannot_be_read_nothing_is_judged() {
    let world = World::new();
    world.real_log(4).await;
    world.far.poison.lock().extend([2]);
    world.run_out().await;
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 1);
    let path = world.folder.path().join(crate::audit::tree::HASHES);
    let tree = fs::read(&path).unwrap();
    let mut again = Again::new(world.folder.path(), "s");
    fs::write(&path, &tree[..32]).unwrap();
    assert!(again.next("o", 4).is_err());
    fs::write(&path, &tree).unwrap();
    let item = again.next("o", 4).unwrap().unwrap();
    assert_eq!((item.seq, world.file("bad").exists()), (2, false));
}

#[tokio::test]
async fn each_file_is_read_from_its_own_start_and_only_the_one_that_was_read_goes() {
    let world = World::new();
    world.real_log(4).await;
    world.far.poison.lock().extend([0, 1, 2, 3]);
    world.run_out().await;
    let mut again = Again::new(world.folder.path(), "s");
    let mut next = || again.next("o", 4).unwrap().map(|item| item.seq);
    assert_eq!(next(), None);
    assert!(world.file("refused").exists());
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 4);
    assert!(!world.file("refused").exists());
    assert_eq!((next(), next()), (Some(0), Some(0)));
    again.done();
    again.done();
    let mut next = || again.next("o", 4).unwrap().map(|item| item.seq);
    assert_eq!(next(), Some(1));
    // Another file comes to the place of the one that was begun.
    fs::copy(world.file("resend"), world.file("other")).unwrap();
    fs::rename(world.file("other"), world.file("resend")).unwrap();
    assert_eq!(next(), Some(0));
}

#[tokio::test]
async fn new_records_do_not_wait_for_those_that_are_refused_again_and_again() {
    let world = World::new();
    world.real_log(40).await;
    world.covered.send_replace(20);
    world.far.poison.lock().extend(0..15);
    world.run_out().await;
    assert_eq!(world.refused().len(), 15);
    // So many of them once more make a row that is too long.
    let path = world.file("refused");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.repeat(2)).unwrap();
    assert_eq!(resend(world.folder.path(), "s").unwrap(), 30);
    let task = world.run(From::Start, 0);
    world
        .until("they are refused", |it| it.refused().len() == 16)
        .await;
    world.covered.send_replace(40);
    world
        .until("new ones are sent", |it| it.far.records().len() == 25)
        .await;
    assert_eq!(world.progress.failures.load(Ordering::Relaxed), 0);
    task.abort();
}
