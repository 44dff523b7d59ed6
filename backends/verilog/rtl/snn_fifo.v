// A queue of DEPTH (a power of two) words; the oldest waits in a register behind the memory.
module snn_fifo #(
    parameter WIDTH = 8,
    parameter DEPTH = 16
) (
    input wire clk,
    input wire reset,
    input wire in_valid,
    output wire in_ready,
    input wire [WIDTH-1:0] in_data,
    output reg out_valid,
    input wire out_ready,
    output wire [WIDTH-1:0] out_data
);
    localparam ADDRESS = $clog2(DEPTH);

    reg [ADDRESS-1:0] head, tail;
    reg [ADDRESS:0] used;
    assign in_ready = !used[ADDRESS];
    wire write = in_valid && in_ready;
    wire read = used != 0 && (!out_valid || out_ready);

    snn_ram #(.WIDTH(WIDTH), .DEPTH(DEPTH)) memory (
        .clk(clk),
        .read(read), .read_address(head), .read_data(out_data),
        .write(write), .write_address(tail), .write_data(in_data)
    );

    always @(posedge clk) begin
        if (write) tail <= tail + 1'b1;
        if (read) head <= head + 1'b1;
        if (write && !read) used <= used + 1'b1;
        if (read && !write) used <= used - 1'b1;
        if (read) out_valid <= 1'b1;
        else if (out_ready) out_valid <= 1'b0;
        if (reset) begin
            head <= 0;
            tail <= 0;
            used <= 0;
            out_valid <= 1'b0;
        end
    end
endmodule
