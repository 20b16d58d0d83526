#include "backend/model_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace shoal::backend {
namespace {

class ModelFileTest : public ::testing::Test {
protected:
    ModelFileTest() {
        char name[] = "/tmp/shoal-model-file-XXXXXX";
        EXPECT_NE(::mkdtemp(name), nullptr);
        folder_ = name;
        std::filesystem::create_directory(folder_ + "/pieces");
        std::ofstream(folder_ + "/secret") << "of the user";
    }
    ~ModelFileTest() override { std::filesystem::remove_all(folder_); }
    std::string piece_path(const wire::PieceId& piece) const { return folder_ + "/pieces/" + piece.hex(); }

    std::string folder_;
    const wire::PieceId piece_{ByteArray<32>{7}};
};

TEST_F(ModelFileTest, AModelMayBeALinkAndAPieceMayNot) {
    ASSERT_EQ(::symlink((folder_ + "/secret").c_str(), piece_path(piece_).c_str()), 0);
    EXPECT_TRUE(open_model_file(piece_path(piece_)));
    EXPECT_TRUE(PieceFiles(folder_).read(piece_, 0, 6).empty());
    std::filesystem::remove(piece_path(piece_));
    std::filesystem::copy_file(folder_ + "/secret", piece_path(piece_));
    EXPECT_EQ(as_text(PieceFiles(folder_).read(piece_, 3, 3)), "the");
}

// Opening it would wait for a writer, and the whole node with it.
TEST_F(ModelFileTest, APipeIsNoModel) {
    ASSERT_EQ(::mkfifo(piece_path(piece_).c_str(), 0600), 0);
    const auto opened = open_model_file(piece_path(piece_));
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Errc::invalid);
    EXPECT_TRUE(PieceFiles(folder_).read(piece_, 0, 1).empty());
    const ModelId model(ByteArray<32>{9});
    ASSERT_EQ(::mkfifo((folder_ + "/" + model.hex() + ".manifest").c_str(), 0600), 0);
    EXPECT_FALSE(PieceFiles(folder_).manifest(model));
    EXPECT_FALSE(PieceFiles(folder_).only_manifest());
}

}  // namespace
}  // namespace shoal::backend
