# truefit on a CPU, at the tested versions. Build: docker build -t truefit .
# Use: docker run --rm -v "$PWD:/data" truefit train photos
FROM python:3.11-slim
COPY pyproject.toml constraints.txt README.md LICENSE /truefit/
COPY src /truefit/src
RUN pip install --no-cache-dir -c /truefit/constraints.txt '/truefit[serve]' \
    && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["truefit"]
