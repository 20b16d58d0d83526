#include "store/files.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

namespace shoal::store {
namespace {

// A directory of its own for each test.
struct FilesTest : ::testing::Test {
    FilesTest() {
        std::string pattern = (std::filesystem::temp_directory_path() / "store-test-XXXXXX").string();
        directory = ::mkdtemp(pattern.data());
    }
    ~FilesTest() override { std::filesystem::remove_all(directory); }
    std::string path(const std::string& name) const { return directory + "/" + name; }
    std::size_t entries() const {
        std::size_t count = 0;
        for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++count;
        return count;
    }
    static unsigned mode_of(const std::string& file) {
        struct stat about {};
        EXPECT_EQ(::stat(file.c_str(), &about), 0);
        return about.st_mode & 0777U;
    }
    std::string directory;
};

TEST_F(FilesTest, WhatIsWrittenIsReadBack) {
    Bytes much(300'000, 9);
    much[77] = 1;
    ASSERT_TRUE(write_file_atomic(path("a"), much));
    EXPECT_EQ(*read_file(path("a"), much.size()), much);
    ASSERT_TRUE(write_file_atomic(path("a"), as_bytes("short")));
    EXPECT_EQ(as_text(*read_file(path("a"), 100)), "short");
    ASSERT_TRUE(write_file_atomic(path("a"), {}));
    EXPECT_TRUE(read_file(path("a"), 0)->empty());
    EXPECT_EQ(entries(), 1U);
}

TEST_F(FilesTest, FilesAreTheOwnersAloneWhateverTheMask) {
    const mode_t before = ::umask(0);
    ASSERT_TRUE(write_file_atomic(path("a"), as_bytes("x")));
    ASSERT_TRUE(write_file_atomic(path("b"), as_bytes("x"), 0644));
    ASSERT_TRUE(ensure_directory(path("d/e")));
    ::umask(before);
    EXPECT_EQ(mode_of(path("a")), 0600U);
    EXPECT_EQ(mode_of(path("b")), 0644U);
    EXPECT_EQ(mode_of(path("d")), 0700U);
    EXPECT_EQ(mode_of(path("d/e")), 0700U);
}

TEST_F(FilesTest, AFileThatIsTooLongIsRefused) {
    ASSERT_TRUE(write_file_atomic(path("a"), Bytes(11, 0)));
    EXPECT_TRUE(read_file(path("a"), 11));
    EXPECT_EQ(read_file(path("a"), 10).error().code, Errc::exhausted);
}

TEST_F(FilesTest, WhatIsNoFileIsRefusedAndNamed) {
    const auto missing = read_file(path("none"), 10);
    EXPECT_EQ(missing.error().code, Errc::not_found);
    EXPECT_NE(missing.error().message.find(path("none")), std::string::npos);
    EXPECT_EQ(read_file(directory, 10).error().code, Errc::io);
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    EXPECT_EQ(read_file(path("pipe"), 10).error().code, Errc::io);
}

TEST_F(FilesTest, AFailedWriteLeavesTheOldContentAndNoRest) {
    // A directory stands where the file should go, so that the last step, the rename, fails.
    ASSERT_TRUE(ensure_directory(path("a/inside")));
    const Status written = write_file_atomic(path("a"), as_bytes("new"));
    EXPECT_EQ(written.error().code, Errc::io);
    EXPECT_NE(written.error().message.find(path("a")), std::string::npos);
    EXPECT_TRUE(file_exists(path("a/inside")));
    EXPECT_EQ(entries(), 1U);
}

TEST_F(FilesTest, AReaderNeverSeesAPart) {
    const Bytes old_content(200'000, 1);
    const Bytes new_content(200'000, 2);
    ASSERT_TRUE(write_file_atomic(path("a"), old_content));
    // Opened before the change, it is still the old one, whole: nothing is written in place.
    const int fd = ::open(path("a").c_str(), O_RDONLY);
    ASSERT_TRUE(write_file_atomic(path("a"), new_content));
    Bytes seen(old_content.size() + 1);
    EXPECT_EQ(::read(fd, seen.data(), seen.size()), static_cast<ssize_t>(old_content.size()));
    ::close(fd);
    seen.pop_back();
    EXPECT_EQ(seen, old_content);
}

TEST_F(FilesTest, ADirectoryIsMadeOnceAndAFileInItsPlaceIsNamed) {
    EXPECT_TRUE(ensure_directory(path("x/y/z")));
    EXPECT_TRUE(ensure_directory(path("x/y/z")));
    EXPECT_TRUE(ensure_directory(path("x/y/z/")));
    ASSERT_TRUE(write_file_atomic(path("f"), as_bytes("x")));
    EXPECT_NE(ensure_directory(path("f")).error().message.find("is a file"), std::string::npos);
    EXPECT_FALSE(ensure_directory(path("f/below")));
    EXPECT_FALSE(ensure_directory(""));
}

TEST_F(FilesTest, RemovingIsDoneWhenTheFileIsGone) {
    ASSERT_TRUE(write_file_atomic(path("a"), as_bytes("x")));
    EXPECT_TRUE(remove_file(path("a")));
    EXPECT_FALSE(file_exists(path("a")));
    EXPECT_TRUE(remove_file(path("a")));
}

TEST_F(FilesTest, AKeyComesBackAndIsTheOwnersAlone) {
    ByteArray<32> raw{};
    raw[0] = 0xA7;
    raw[31] = 1;
    ASSERT_TRUE(make_key(path("k"), Key32(raw)));
    EXPECT_EQ(read_key(path("k"))->expose(), raw);
    EXPECT_EQ(mode_of(path("k")), 0600U);
}

TEST_F(FilesTest, AKeyThatIsThereStays) {
    ByteArray<32> first{}, second{};
    first[0] = 1;
    second[0] = 2;
    ASSERT_TRUE(make_key(path("k"), Key32(first)));
    ASSERT_TRUE(make_key(path("k"), Key32(second)));
    EXPECT_EQ(read_key(path("k"))->expose(), first);
}

TEST_F(FilesTest, AKeyThatOthersCanReadIsRefused) {
    ASSERT_TRUE(make_key(path("k"), Key32()));
    for (const unsigned mode : {0640U, 0604U, 0620U, 0602U}) {
        ASSERT_EQ(::chmod(path("k").c_str(), mode), 0);
        EXPECT_EQ(read_key(path("k")).error().code, Errc::unauthenticated) << mode;
    }
}

TEST_F(FilesTest, WhatIsNotExactlyAKeyIsRefused) {
    const std::string digits(64, 'a');
    for (const std::string& text :
         {std::string(), digits, digits + "a\n", digits.substr(2) + "\n", "g" + digits.substr(1) + "\n"}) {
        ASSERT_TRUE(write_file_atomic(path("k"), as_bytes(text)));
        EXPECT_FALSE(read_key(path("k"))) << text;
    }
    EXPECT_EQ(read_key(path("none")).error().code, Errc::not_found);
}

TEST_F(FilesTest, ADirectoryHasOneHolderWhoseProcessIsNamed) {
    auto first = lock_directory(directory);
    ASSERT_TRUE(first);
    const auto second = lock_directory(directory);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Errc::unavailable);
    EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid()) + ";"), std::string::npos);
    { const DirectoryLock released = std::move(*first); }
    EXPECT_TRUE(lock_directory(directory));
}

// A directory that came from elsewhere.
TEST_F(FilesTest, ALockThatIsALinkOrAPipeIsRefused) {
    ASSERT_TRUE(write_file_atomic(path("mine"), as_bytes("precious")));
    ASSERT_EQ(::symlink(path("mine").c_str(), path("lock").c_str()), 0);
    EXPECT_FALSE(lock_directory(directory));
    EXPECT_EQ(as_text(*read_file(path("mine"), 100)), "precious");
    ASSERT_EQ(::unlink(path("lock").c_str()), 0);
    ASSERT_EQ(::mkfifo(path("lock").c_str(), 0600), 0);
    EXPECT_FALSE(lock_directory(directory));
}

TEST_F(FilesTest, TheLockOfAProcessThatWasKilledIsFree) {
    int ready[2];
    ASSERT_EQ(::pipe(ready), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto held = lock_directory(directory);
        [[maybe_unused]] const auto told = ::write(ready[1], held ? "y" : "n", 1);
        while (true) ::pause();
    }
    char locked = 0;
    ASSERT_EQ(::read(ready[0], &locked, 1), 1);
    EXPECT_EQ(locked, 'y');
    const auto held = lock_directory(directory);
    ASSERT_FALSE(held);
    EXPECT_NE(held.error().message.find(std::to_string(child)), std::string::npos);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_TRUE(lock_directory(directory));
    ::close(ready[0]);
    ::close(ready[1]);
}

TEST_F(FilesTest, TheLockIsNotInheritedByPrograms) {
    const auto held = lock_directory(directory);
    ASSERT_TRUE(held);
    // A program started now must not keep the lock when this process is gone: the descriptor closes on exec.
    std::size_t open_on_exec = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code error;
        const auto target = std::filesystem::read_symlink(entry.path(), error);
        if (error || target != path("lock")) continue;
        const int flags = ::fcntl(std::stoi(entry.path().filename()), F_GETFD);
        if ((flags & FD_CLOEXEC) == 0) ++open_on_exec;
    }
    EXPECT_EQ(open_on_exec, 0U);
}

}  // namespace
}  // namespace shoal::store
